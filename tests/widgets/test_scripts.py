"""What a page gets of a widget: one script with all modules, and colours from one place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.widgets import scripts
from exsa_lab.widgets.scripts import read_inline, read_script, read_styles

FOLDER = Path(scripts.__file__).parent
MODULES = sorted(path.name for path in FOLDER.glob("*.js") if path.name != "loader.js")
STYLES = sorted(path.name for path in FOLDER.glob("*.css"))


def texts_of(script: str) -> dict[str, str]:
    found = re.search(r'^export default \(await load\((\{.*\}), "\w+\.js"\)\)\.default;$', script, re.MULTILINE)
    assert found is not None
    return dict(json.loads(found[1]))


def test_a_script_has_every_module_that_it_needs_once() -> None:
    texts = texts_of(read_script("race.js"))
    assert set(texts) == {"race.js", "race_run.js", "step_run.js", "marked.js", "player.js", "common.js"}
    assert texts["common.js"] == (FOLDER / "common.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_their_neighbours_and_nothing_else(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    imports = re.findall(r"^(?:import|} from) .*|^import .*", text, re.MULTILINE)
    whole = re.findall(r'from "(.*)";$', text, re.MULTILINE)
    assert all(source.startswith("./") and (FOLDER / source).is_file() for source in whole), imports
    assert len(re.findall(r"^import ", text, re.MULTILINE)) == len(whole)
    assert "import(" not in text


def test_colours_and_fonts_are_those_of_the_palette() -> None:
    palette = (FOLDER / "palette.css").read_text(encoding="utf-8")
    defined = set(re.findall(r"(--exsa-[\w-]+):", palette))
    used: set[str] = set()
    for name in STYLES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        used |= set(re.findall(r"var\((--exsa-[\w-]+)\)", text))
        if name != "palette.css":
            assert not re.search(r"#[0-9a-f]{3,8}\b|light-dark|color-scheme|--exsa-[\w-]+:", text), name
    assert used <= defined
    assert read_styles("jobs.css").startswith(palette)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_stand_inline(name: str) -> None:
    script = read_inline(name) if "export default" in (FOLDER / name).read_text(encoding="utf-8") else ""
    assert not re.search(r"^(?:import|export) |</script", script, re.MULTILINE)


@pytest.mark.browser
def test_an_inline_script_is_the_default_export(browser: Any) -> None:
    page = browser.new_page()
    assert page.evaluate(f"typeof {read_inline('page.js')}") == "function"
    assert page.evaluate(f"Object.keys({read_inline('copyable.js')}).sort()") == ["render"]
    page.close()


@pytest.mark.browser
def test_a_page_loads_each_module_once_for_all_widgets(browser: Any) -> None:
    page = browser.new_page()
    load = """async (scripts) => {
      for (const script of scripts) {
        const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
        if (typeof module.default !== "object" && typeof module.default !== "function") throw Error("no widget");
      }
      return globalThis[Symbol.for("exsa_lab.modules")].size;
    }"""
    entries = [name for name in MODULES if "export default" in (FOLDER / name).read_text(encoding="utf-8")]
    assert page.evaluate(load, [read_script(name) for name in entries * 2]) == len(MODULES)
    page.close()
