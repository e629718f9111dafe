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

# Where the compiler knows AVX512-FP16, ggml adds values to an f16 sum 128 at once, and one by one what is left over:
# all of it in heads of 64 values, so that attention behind 1,000 tokens takes two to three times as long (`python -m
# benchmarks attention`). Without it ggml computes in f32, 64 at once. Heads of 128 and 256 lose a fifth of attention.
check_cxx_compiler_flag(-mno-avx512fp16 CAN_LEAVE_OUT_AVX512FP16)
if (CAN_LEAVE_OUT_AVX512FP16)
    add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-mno-avx512fp16>")
endif()
