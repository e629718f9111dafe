# Read by CMake at llama.cpp's project(), see scripts/llama_wheel.py.

# llama.cpp's common library serves its command line tools; exsa_lab uses libllama alone, which halves the compiling.
# A normal variable, for llama-cpp-python forces the cache entry of this name.
set(LLAMA_BUILD_COMMON OFF)

# GCC drops what this release writes into its AMX tile configuration, and the first product ends the process with an
# illegal instruction (https://github.com/ggml-org/llama.cpp/pull/26954). On such CPUs AVX-512 serves instead.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-mno-amx-tile CAN_LEAVE_OUT_AMX)
if (CAN_LEAVE_OUT_AMX)
    add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-mno-amx-tile;-mno-amx-int8;-mno-amx-bf16>")
endif()
