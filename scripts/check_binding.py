"""Compare the llama.cpp that is pinned with another release: what moved of the functions and structs used here.

    python scripts/check_binding.py            # the pinned release against the newest
    python scripts/check_binding.py 0.3.37     # against that one

llama-cpp-python declares llama.cpp's structs by hand: a field that its header has and the binding does not shifts all
that follow, silently. So each struct that is used is compared with the header of its own release, and each function,
struct and constant with those of the pinned one. Ends with 1 where something that is used is gone or does not fit.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import llama_wheel

RUNTIME = llama_wheel.ROOT / "exsa_lab" / "runtime"
HEADERS = ("vendor/llama.cpp/include/llama.h", "vendor/llama.cpp/ggml/include/ggml.h",
           "vendor/llama.cpp/ggml/include/ggml-backend.h")  # fmt: skip
BINDING = "llama_cpp/llama_cpp.py"
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_FUNCTION = re.compile(r"(?:LLAMA_API|GGML_API|GGML_BACKEND_API)\s+([^;{}]*?\b(\w+)\s*\([^;{}]*\))\s*;")
_STRUCT = re.compile(r"struct\s+(\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ALIAS = re.compile(r"typedef\s+struct\s+(\w+)\s*\{[^}]*\}\s*(\w+)\s*;")
_FIELD = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?$")
_CONSTANT = re.compile(r"\b((?:LLAMA|GGML)_[A-Z0-9_]+)\s*(?:=\s*([^,}\n]+))?\s*[,}\n]")


@dataclass(frozen=True)
class Release:
    """One release of the binding: what its headers declare, and which fields it gives the structs."""

    version: str
    functions: dict[str, str]
    structs: dict[str, list[str]]
    constants: dict[str, str]
    bound: dict[str, list[str]]


def main(argv: list[str]) -> int:
    pinned = re.search(r">=([\w.]+)", llama_wheel.requirement())
    assert pinned is not None
    old = read(fetch(f"=={pinned[1]}"))
    try:
        new = read(fetch(f"=={argv[0]}" if argv else f">{pinned[1]}"))
    except subprocess.CalledProcessError:
        print(f"There is no release {argv[0]}." if argv else f"There is no release after {pinned[1]}, which is pinned.")
        return int(bool(argv))
    print(f"llama-cpp-python {old.version} (pinned) against {new.version}")
    found = list(compare(old, new, used(RUNTIME)))
    for _, line in found:
        print(f"  {line}")
    print("Nothing that is used has moved." if not found else "")
    return int(any(is_fatal for is_fatal, _ in found))


def used(folder: Path) -> set[str]:
    """Names of llama.cpp's that the sources in a folder use."""
    texts = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    return set(re.findall(r"\b(?:llama|ggml)_\w+|\b(?:LLAMA|GGML)_[A-Z0-9_]+", texts))


def fetch(wanted: str) -> Callable[[str], str]:
    """Download a release's sources; returns what reads a file of them. Raises CalledProcessError."""
    folder = Path(tempfile.mkdtemp())
    command = [*llama_wheel.pip("download"), "--no-binary", llama_wheel.PACKAGE, "--dest", str(folder)]
    subprocess.run([*command, llama_wheel.PACKAGE + wanted], check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")

    def text(path: str) -> str:
        if path == "version":
            return archive.name.removesuffix(".tar.gz").rpartition("-")[2]
        with tarfile.open(archive) as opened:
            member = opened.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{path}")
            assert member is not None
            return member.read().decode()

    return text


def read(text: Callable[[str], str]) -> Release:
    """Read a release's headers and binding."""
    header = _COMMENT.sub("", "\n".join(text(path) for path in HEADERS))
    functions = {name: " ".join(declared.split()).replace(" (", "(") for declared, name in _FUNCTION.findall(header)}
    structs = {name: list(_fields(body)) for name, body in _STRUCT.findall(header)}
    structs |= {alias: structs[name] for name, alias in _ALIAS.findall(header) if name in structs}
    return Release(text("version"), functions, structs, dict(_CONSTANT.findall(header)), bound_fields(text(BINDING)))


def _fields(body: str) -> Iterator[str]:
    flat = re.sub(r"(?:union|struct)\s*\{([^{}]*)\}\s*;", r"\1", body)
    for declared in flat.split(";"):
        for part in declared.split(",") if "(" not in declared else [declared.split(")")[0]]:
            if found := _FIELD.search(part.strip()):
                yield found[1]


def bound_fields(source: str) -> dict[str, list[str]]:
    """Fields of each ctypes structure in the binding's source, in order."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(item, ast.Assign) and isinstance(item.value, ast.List) and _is_fields(item.targets[0]):
                pairs = [pair.elts[0] for pair in item.value.elts if isinstance(pair, ast.Tuple)]
                found[node.name] = [str(name.value) for name in pairs if isinstance(name, ast.Constant)]
    return found


def _is_fields(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "_fields_"


def compare(old: Release, new: Release, names: set[str]) -> Iterator[tuple[bool, str]]:
    """Yield whether it must be mended, and a line, for each difference that touches what is used."""
    for name in sorted(names & old.functions.keys()):
        if name not in new.functions:
            yield True, f"{name} is gone"
        elif old.functions[name] != new.functions[name]:
            yield True, f"{name} was {old.functions[name]}\n    and is  {new.functions[name]}"
    for name in sorted(names & old.constants.keys()):
        if name not in new.constants:
            yield True, f"{name} is gone"
        elif old.constants[name] != new.constants[name]:
            yield False, f"{name} was {old.constants[name] or 'counted'}, is {new.constants[name] or 'counted'}"
    taken = " ".join(new.functions[name] for name in names & new.functions.keys())
    structs = {name for name in new.structs.keys() & new.bound.keys() if re.search(rf"\b{name}\b", taken)}
    for name in sorted(structs):
        if new.structs[name] != new.bound[name]:
            yield True, f"struct {name}: the header has {new.structs[name]}, the binding {new.bound[name]}"
        before = old.structs.get(name, [])
        moved = [f"+{field}" for field in new.structs[name] if field not in before]
        moved += [f"-{field}" for field in before if field not in new.structs[name]]
        if moved:
            yield False, f"struct {name}: {', '.join(moved)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
