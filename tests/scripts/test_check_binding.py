"""What moved between two releases of llama.cpp and its binding, on small headers."""

from __future__ import annotations

from collections.abc import Callable

import check_binding
import pytest

HEADER = """
/* struct commented { int a; }; */
enum llama_kind {
    LLAMA_KIND_A = 1, // one
    LLAMA_KIND_B = 2,
};
struct llama_run_params {
    uint32_t n_ctx;   // text context
    float * weights, scale;
    void (*callback)(int code, void * data);
    struct { bool a; bool b; };
};
typedef struct llama_other { int a; } llama_alias;
LLAMA_API struct llama_run_params llama_default(void);
LLAMA_API int32_t llama_decode(
    struct llama_context * ctx, // where
    struct llama_batch     batch);
"""
FIELDS = ["n_ctx", "weights", "scale", "callback", "a", "b"]
BINDING = f"""
class llama_run_params(ctypes.Structure):
    _fields_ = [{", ".join(f'("{name}", int)' for name in FIELDS)}]
"""
USED = {"llama_default", "llama_decode", "LLAMA_KIND_A", "llama_run_params"}


def _release(version: str = "1", header: str = HEADER, binding: str = BINDING) -> check_binding.Release:
    def text(path: str) -> str:
        return (
            version if path == "version" else binding if path.endswith(".py") else header if "llama.h" in path else ""
        )

    return check_binding.read(text)


def test_headers_and_bindings_are_read() -> None:
    release = _release()
    assert release.functions["llama_decode"] == (
        "int32_t llama_decode( struct llama_context * ctx, struct llama_batch batch)"
    )
    assert release.structs["llama_run_params"] == FIELDS == release.bound["llama_run_params"]
    assert release.structs["llama_alias"] == ["a"]
    assert release.constants["LLAMA_KIND_A"] == "1"
    assert "commented" not in release.structs


def test_nothing_moved() -> None:
    assert list(check_binding.compare(_release(), _release(), USED)) == []


@pytest.mark.parametrize(
    ("change", "is_fatal", "words"),
    [
        (lambda text: text.replace("llama_decode", "llama_decode_2"), True, "llama_decode is gone"),
        (lambda text: text.replace("llama_batch     batch", "llama_batch * batch"), True, "llama_decode was"),
        (lambda text: text.replace("LLAMA_KIND_A = 1", "LLAMA_KIND_A = 7"), False, "LLAMA_KIND_A was 1"),
        (lambda text: text.replace("LLAMA_KIND_A = 1", "LLAMA_KIND_C = 1"), True, "LLAMA_KIND_A is gone"),
        (lambda text: text.replace("uint32_t n_ctx;", "uint32_t n_ctx; int n_new;"), True, "the binding"),
    ],
)
def test_what_moved_is_said(change: Callable[[str], str], is_fatal: bool, words: str) -> None:
    found = list(check_binding.compare(_release(), _release("2", change(HEADER)), USED))
    assert any(words in line and fatal == is_fatal for fatal, line in found)


def test_what_is_not_used_does_not_matter() -> None:
    changed = _release("2", HEADER.replace("llama_decode", "llama_decode_2").replace("n_ctx;", "n_ctx; int n_new;"))
    assert list(check_binding.compare(_release(), changed, {"LLAMA_KIND_A"})) == []


def test_the_runtime_uses_names_that_are_found() -> None:
    assert {"llama_decode", "llama_memory_seq_rm", "LLAMA_FLASH_ATTN_TYPE_ENABLED"} <= check_binding.used(
        check_binding.RUNTIME
    )
