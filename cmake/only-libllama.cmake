# llama.cpp's common library serves its command line tools; exsa_lab uses libllama alone, which halves the compiling.
# A normal variable, for llama-cpp-python forces the cache entry of this name.
set(LLAMA_BUILD_COMMON OFF)
