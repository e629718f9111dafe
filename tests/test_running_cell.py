"""Which cell asked: in a real shell and a real kernel, from its threads, and after it."""

from __future__ import annotations

from exsa_lab.running_cell import running_cell
from tests.shell import Kernel, shell

CELL = """
import threading
from exsa_lab.running_cell import running_cell
from exsa_lab.testing import ScriptedModel, scripted_engine
engine = scripted_engine(ScriptedModel("ab.", lambda tokens: [0.1, 0.9, 0.0], ends=[2]))
gens = [engine.generate("a", max_tokens=2), *engine.map(["a", "b"], max_tokens=2, progress=False)]
gens += [gens[0].more(max_tokens=1)]
asked = engine.submit("a", max_tokens=2, origin="http 127.0.0.1 req 1")
found = []
thread = threading.Thread(target=lambda: found.append(running_cell()))
thread.start()
thread.join()
engine.close()
"""


def test_whatever_a_cell_asks_for_names_it() -> None:
    assert running_cell() is None
    with shell() as notebook:
        notebook.ip.run_cell("%time 'IPython stores no cell with paste in it'", store_history=True)
        notebook.ip.run_cell("1", store_history=True)
        notebook.ip.run_cell(CELL, store_history=True).raise_error()
        names = notebook.ip.user_ns
        assert [gen.cell for gen in names["gens"]] == [3] * 4
        assert (names["asked"].cell, names["found"]) == (None, [None])
        assert running_cell() is None  # between two cells


def test_the_number_is_the_one_that_a_notebook_shows() -> None:
    kernel = Kernel()
    try:
        kernel.run("from exsa_lab.running_cell import running_cell")
        plain = kernel.run("print(running_cell())")
        awaiting = kernel.run("import asyncio; await asyncio.sleep(0); print(running_cell())")
        later = kernel.run("found = []; _ = asyncio.get_running_loop().call_soon(lambda: found.append(running_cell()))")
        after = kernel.run("print(found)")
    finally:
        kernel.close()
    assert later.succeeded
    assert (plain.stdout.strip(), awaiting.stdout.strip(), after.stdout.strip()) == ("2", "3", "[None]")
