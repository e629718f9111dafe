"""Take the pictures of docs/screenshots in a real JupyterLab, with the default pair, in light and dark.

``python scripts/take_screenshots.py [NAME ...]`` renews all of them, or those named. Needs chromium and the test
dependencies, and Pillow to make them small; look at the result before committing it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests drive the page

from playwright.sync_api import expect, sync_playwright  # noqa: E402

from tests.browser.conftest import QUIET  # noqa: E402
from tests.browser.lab import WAIT_MS, Notebook, Server, write_notebook  # noqa: E402
from tests.conftest import chromium  # noqa: E402

FOLDERS = {sys.prefix: ".venv", str(ROOT / "exsa_lab"): "exsa_lab"}
"""Folders of this machine, and what the pictures say instead."""
REPLACE = """(output, [folder, name]) => {
  const texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(folder, name);
}"""
FOLDER = ROOT / "docs" / "screenshots"
LOAD = "%load_ext exsa_lab\n%exsa_load"


def strip(lab: Notebook) -> Callable[[str], None]:
    lab.run(0, 1)
    expect(lab.strip(1).locator(".exsa-state")).to_contain_text("finished", timeout=WAIT_MS)

    lab.strip(1).locator(".exsa-cut").last.evaluate("el => el.click()")  # one run of rejected tokens opened

    def shoot(name: str) -> None:
        tip = lab.strip(1).locator(".exsa-tip")
        lab.strip(1).locator(".exsa-text .exsa-tok.a").last.hover()
        lab.shot(name, 1, also=tip)
        lab.page.mouse.move(5, 5)

    return shoot


def timeline(lab: Notebook) -> Callable[[str], None]:
    lab.run(0, 1, 2, 3, 4)
    expect(lab.output(2).locator(".exsa-timeline")).to_contain_text("8 finished", timeout=WAIT_MS)
    steps = lab.output(2).get_by_role("slider", name="Step of the engine")
    steps.fill(str(int(steps.get_attribute("max") or 0) // 2))  # its slots stand below the picture then
    return lambda name: lab.shot(name, 2)


def step_through(lab: Notebook) -> Callable[[str], None]:
    lab.run(0, 1, 2)
    view = lab.output(2).locator(".exsa-steps")
    view.focus()
    # To a round where something was refused, and there to what took its place.
    for _ in range(400):
        lab.page.keyboard.press("ArrowRight")
        tested = view.locator(".exsa-st-card.a").count() and view.locator(".exsa-st-card.x").count()
        if tested and view.get_attribute("data-phase") == "own" and view.locator(".exsa-mk").count() > 30:
            break
    lab.page.mouse.click(5, 400)
    return lambda name: lab.shot(name, 2)


def tuner(lab: Notebook) -> Callable[[str], None]:
    lab.run(0, 1, 2)
    run = lab.output(2).get_by_role("button", name="Run", exact=True)
    for number, set_next in ((1, 3), (2, None)):
        run.click()
        expect(lab.output(2)).to_contain_text(f"Run {number} done", timeout=WAIT_MS)
        if set_next is not None:
            lab.run(set_next)
    lab.page.mouse.click(5, 400)
    return lambda name: lab.shot(name, 2)


def doctor(lab: Notebook) -> Callable[[str], None]:
    lab.run(0, 1, 2)
    for folder, name in FOLDERS.items():
        lab.output(2).evaluate(REPLACE, [folder, name])
    return lambda name: lab.shot(name, 2)


def third(lab: Notebook) -> Callable[[str], None]:
    """The output of the third cell, as it is."""
    lab.run(0, 1, 2)
    lab.page.mouse.click(5, 400)
    return lambda name: lab.shot(name, 2)


def race(lab: Notebook) -> Callable[[str], None]:
    """A race on its way."""
    shoot = third(lab)
    slider = lab.output(2).get_by_label("Position in the run")
    slider.evaluate("el => { el.value = 0.55 * el.max; el.dispatchEvent(new Event('input')); }")
    return shoot


SCENES: dict[str, tuple[Callable[[Notebook], Callable[[str], None]], list[str]]] = {
    "strip": (strip, [LOAD, "%%exsa --max-tokens 64 --draft-length 3\nWhat is photosynthesis?"]),
    "timeline": (
        timeline,
        [
            LOAD.replace("%exsa_load", "%exsa_load --n-seq-max 4"),
            "import exsa_lab as xl\nfrom exsa_lab.bench.workloads import WORKLOADS\nengine = xl.get_engine()",
            "from exsa_lab.widgets import show_timeline\nview = show_timeline(engine)",
            'prompts = [*WORKLOADS["chat"][:4], *WORKLOADS["code"][:2], *WORKLOADS["chat"][4:6]]\n'
            "gens = engine.map(prompts, max_tokens=48, draft_length=3, temperature=0.7, seed=1)",
            "view.timeline.is_busy",
        ],
    ),
    "step-through": (
        step_through,
        [
            LOAD,
            "import exsa_lab as xl\nfrom exsa_lab.widgets import StepThrough\n"
            'gen = xl.get_engine().generate("What is photosynthesis?", draft_length=4, temperature=0.8, seed=2,'
            " max_tokens=60)",
            "StepThrough(gen)",
        ],
    ),
    "tuner": (
        tuner,
        [
            LOAD,
            "from exsa_lab.experiments import Setting\nfrom exsa_lab.tuner import Tuner",
            'tuner = Tuner(setting=Setting(max_tokens=60, draft_length=0, drafter="ngram"))\ntuner',
            'tuner.controls.prompt_set.value = "chat"\ntuner.controls.concurrency.value = 4',
        ],
    ),
    "race": (
        race,
        [
            LOAD.replace("%exsa_load", "%exsa_load --cost-factor 10"),
            "import exsa_lab as xl",
            'xl.race("Write a Python function that adds two numbers.", plain={"draft_length": 0},'
            ' drafted={"draft_length": 3, "drafter": "model"}, max_tokens=40, repeats=3)',
        ],
    ),
    "explorer": (third, [LOAD, "import exsa_lab as xl", 'xl.explore(machine="H100, target x10", acceptance=0.7)']),
    "playground": (
        third,
        [
            LOAD,
            "import exsa_lab as xl",
            'play = xl.play("Write a few lines about the sea.", temperature=0.8, seed=11)\n'
            'play.force("The sea is")\nplay',
        ],
    ),
    "doctor": (doctor, [LOAD, "%%exsa --max-tokens 40\nWhat is photosynthesis?", "%exsa_doctor"]),
}


def shrink(path: Path) -> None:
    """Store a picture with 128 colours, which is all that text and marks need."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        server.wait_until_ready()
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        try:
            for name in names or SCENES:
                prepare, cells = SCENES[name]
                page = browser.new_page(viewport={"width": 1080, "height": 900}, device_scale_factor=1.25)
                lab = Notebook(page, server, write_notebook(server.root / f"{name}.ipynb", *cells), FOLDER)
                lab.command("application:toggle-left-area")
                lab.set_theme("light")
                shoot = prepare(lab)
                for theme in ("light", "dark"):
                    lab.set_theme(theme)
                    shoot(f"{name}-{theme}")
                    shrink(FOLDER / f"{name}-{theme}.png")
                server.stop_kernels()
                page.close()
                print(name)
        finally:
            browser.close()
            server.close()


if __name__ == "__main__":
    main(sys.argv[1:])
