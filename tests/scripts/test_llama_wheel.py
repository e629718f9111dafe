"""The wheel of llama-cpp-python is compiled once for a machine, its flags and its version."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import llama_wheel
import pytest

WHEEL = "llama_cpp_python-0.3.36-py3-none-any.whl"
FAKE_PIP = """
import os, pathlib, sys
if os.environ.get("FAKE_FAILS"):
    print("error: no compiler")
    sys.exit(1)
print("  [1/2] Building CXX object a.o")
print("  [2/2] Linking CXX library")
folder = sys.argv[sys.argv.index("--wheel-dir") + 1]
pathlib.Path(folder, {wheel!r}).write_text(" ".join(sys.argv) + "\\n" + os.environ["CMAKE_ARGS"])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in llama_wheel.BUILD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "exsa_lab" / "wheels"


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "pip.py"
    script.write_text(FAKE_PIP.format(wheel=WHEEL))
    monkeypatch.setattr(llama_wheel, "pip", lambda command: [sys.executable, str(script), command])


@pytest.mark.usefixtures("fake_pip")
def test_a_wheel_is_compiled_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = llama_wheel.wheel()
    assert made.is_relative_to(cache)
    command, given = made.read_text().splitlines()
    assert "--no-cache-dir --no-binary llama-cpp-python" in command
    assert llama_wheel.requirement() in command
    assert "-DLLAVA_BUILD=OFF" in given
    assert "compiling llama.cpp, 2 of 2\n" in capsys.readouterr().err
    made.write_text("kept")
    assert llama_wheel.wheel() == made
    assert made.read_text() == "kept"
    assert list(made.parent.iterdir()) == [made]


@pytest.mark.usefixtures("fake_pip")
def test_other_flags_are_another_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = llama_wheel.wheel()
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    cuda = llama_wheel.wheel()
    assert cuda.parent != plain.parent
    assert cuda.read_text().endswith(" -DGGML_CUDA=on")


@pytest.mark.usefixtures("fake_pip")
def test_a_failure_shows_the_end_of_the_log_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    assert llama_wheel.main([]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: no compiler" in told.err
    assert "apt install build-essential" in told.err
    assert not list(cache.rglob("*.whl"))


def test_a_wheel_depends_on_version_flags_machine_and_index(monkeypatch: pytest.MonkeyPatch) -> None:
    here = llama_wheel.key("a==1", {})
    others = {
        llama_wheel.key("a==2", {}),
        llama_wheel.key("a==1", {"CMAKE_ARGS": "-DGGML_CUDA=on"}),
        llama_wheel.key("a==1", {"CC": "clang"}),
        llama_wheel.key("a==1", {}, "https://wheels"),
    }
    monkeypatch.setattr(llama_wheel, "machine", lambda: ["another CPU"])
    others.add(llama_wheel.key("a==1", {}))
    assert len(others - {here}) == 5
    monkeypatch.undo()
    assert llama_wheel.key("a==1", {"HOME": "/elsewhere", "CC": ""}) == here


def test_the_machine_is_its_cpu_too() -> None:
    assert len(llama_wheel.machine()) >= 5
    assert len(llama_wheel._cpu()[-1]) > 3


def test_flags_keep_a_path_with_spaces_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_wheel, "PARTS", Path("/my clones/only.cmake"))
    monkeypatch.setattr(llama_wheel.shutil, "which", {"ccache": "/usr/bin/ccache"}.get)
    made = llama_wheel.flags({"CMAKE_ARGS": "-DLLAVA_BUILD=ON"})["CMAKE_ARGS"]
    assert llama_wheel.shlex.split(made) == [
        "-DLLAVA_BUILD=OFF",
        "-DCMAKE_PROJECT_llama.cpp_INCLUDE=/my clones/only.cmake",
        "-DCMAKE_C_COMPILER_LAUNCHER=/usr/bin/ccache",
        "-DCMAKE_CXX_COMPILER_LAUNCHER=/usr/bin/ccache",
        "-DLLAVA_BUILD=ON",
    ]


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  [34/78] Building CXX object src/llama.o\n", (34, 78)),
        ("[ 43%] Building CXX object src/llama.o\n", (43, 100)),
        ("[build-system]\n", None),
        ("-- Configuring done (0.4s)\n", None),
    ],
)
def test_progress_of_ninja_and_make(line: str, step: tuple[int, int] | None) -> None:
    assert llama_wheel.progress(line) == step


def test_progress_is_one_line_where_somebody_watches_and_ten_where_nobody_does() -> None:
    lines = [f"[{n}/200] Building\n" for n in range(1, 201)]
    quiet, terminal = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    llama_wheel.show_progress(lines, quiet)
    llama_wheel.show_progress(lines, terminal)
    assert len(quiet.getvalue().splitlines()) == 11
    assert quiet.getvalue().endswith("compiling llama.cpp, 200 of 200\n")
    assert terminal.getvalue().count("\n") == 1


def test_a_prebuilt_wheel_comes_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    with pytest.raises(llama_wheel.WheelError, match="has no wheel of llama-cpp-python"):
        llama_wheel.wheel(str(folder))
    info = "llama_cpp_python-0.3.36.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    assert llama_wheel.wheel(str(folder)).read_bytes() == (folder / WHEEL).read_bytes()
