"""The magics through a real IPython shell: on scripted engines, and on the real pair in a real kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from exsa_lab import loading
from exsa_lab.config import SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, DecodeError, EngineNotLoaded
from exsa_lab.models.resolve import resolve
from exsa_lab.testing import Entry, ScriptedModel, scripted_engine
from tests.magics.parts import alphabet
from tests.shell import CellResult, Kernel, Shell


@pytest.fixture
def engine() -> Iterator[Engine]:
    yield loading.use(scripted_engine(alphabet(), alphabet()))
    loading.unload()


def one_line(result: CellResult, kind: str = "ConfigError") -> str:
    """The one line a user's mistake leaves; anything more is a failure."""
    assert not result.succeeded
    assert type(result.error).__name__ == kind
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 1, result.stdout
    assert lines[0].startswith(f"{kind}: ")
    return lines[0].removeprefix(f"{kind}: ")


def test_a_cell_generates_and_binds(ip: Shell, engine: Engine) -> None:
    result = ip.run("%%exsa --max-tokens 5 --name out\nabc")

    assert result.succeeded
    assert "defgh" in result.text()
    assert ip.ip.user_ns["_exsa"] is ip.ip.user_ns["out"]
    assert ip.ip.user_ns["out"].text == "defgh"


def test_options_reach_the_request(ip: Shell, engine: Engine) -> None:
    line = (
        "--max-tokens 7 --temperature 0.5 --top-k 3 --top-p 0.9 --min-p 0.1 --seed 4 --stop 'g h' --stop '\\n' "
        "--no-chat --drafter none --draft-length 2 --timeout 60 --view none"
    )
    assert ip.run(f"%%exsa {line}\nabc").succeeded

    params = ip.ip.user_ns["_exsa"].params
    assert params == SamplingParams(
        max_tokens=7, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=4, stop=("g h", "\n"), chat=False,
        drafter="none", draft_length=2, timeout=60,
    )  # fmt: skip


def test_system_message(ip: Shell, engine: Engine) -> None:
    assert ip.run("%%exsa --system 'ab cd' --max-tokens 2 --view none\nefg").succeeded
    assert ip.ip.user_ns["_exsa"].params.system == "ab cd"


def test_braces_stay_without_format(ip: Shell, engine: Engine) -> None:
    ip.ip.user_ns["bad"] = "cde"
    assert ip.run("%%exsa --max-tokens 1 --view none\n{abc} {bad}").succeeded
    assert ip.ip.user_ns["_exsa"].prompt == "{abc} {bad}"


def test_format_fills_from_the_notebook(ip: Shell, engine: Engine) -> None:
    ip.ip.user_ns["bad"] = "cde"
    assert ip.run("%%exsa --format --max-tokens 1 --view none\n{{ab}} {bad}").succeeded
    assert ip.ip.user_ns["_exsa"].prompt == "{ab} cde"


def test_format_of_a_missing_name(ip: Shell, engine: Engine) -> None:
    ip.ip.user_ns["animal"] = "cat"
    line = one_line(ip.run("%%exsa --format\n{anmal}"))
    assert "'anmal'" in line
    assert "Did you mean 'animal'?" in line


def test_background_returns_at_once(ip: Shell, slow_engine: Engine) -> None:
    result = ip.run("%%exsa -b --name out --max-tokens 2000 --draft-length 0\nabc")

    out: Generation = ip.ip.user_ns["out"]
    assert result.succeeded
    assert "_exsa.result() waits" in result.stdout
    assert not out.state.is_final
    assert "Cancelled generation" in ip.run(f"%exsa_cancel {out.id}").stdout
    assert out.wait(60)
    assert out.state == "cancelled"


def test_a_cell_waits_for_its_turn(ip: Shell, slow_engine: Engine) -> None:
    ip.run("%%exsa -b --name first --max-tokens 40\nabc")
    assert ip.run("%%exsa --name second --max-tokens 3\nabc").succeeded
    assert ip.ip.user_ns["second"].text == "def"
    assert ip.ip.user_ns["first"].result(60) == "defghabc" * 5


def test_timeout_fails_the_cell_and_keeps_the_text(ip: Shell, slow_engine: Engine) -> None:
    cell = "%%exsa --timeout 1.5 --max-tokens 2000 --draft-length 0 --view none\nabc"
    line = one_line(ip.run(cell), "GenerationCancelled")
    assert "timeout" in line
    assert ip.ip.user_ns["_exsa"].text.startswith("def")


def test_a_line_is_expanded_as_in_any_magic(ip: Shell, engine: Engine) -> None:
    ip.ip.user_ns["n"] = 3
    assert ip.run("%%exsa --max-tokens $n --view none\nabc").succeeded
    assert ip.ip.user_ns["_exsa"].text == "def"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%exsa --max-tokns 3\nabc", ["'--max-tokns'", "Did you mean '--max-tokens'?"]),
        ("%%exsa --max-tokens 0\nabc", ["max_tokens is 0", "from 1"]),
        ("%%exsa --max-tokens -4\nabc", ["max_tokens is -4"]),
        ("%%exsa --max-tokens many\nabc", ["max_tokens is 'many'", "whole number"]),
        ("%%exsa --max-tokens\nabc", ["--max-tokens", "needs a value"]),
        ("%%exsa --temperature nan\nabc", ["temperature is nan"]),
        ("%%exsa --temperature=-1\nabc", ["temperature is -1"]),
        ("%%exsa --drafter modle\nabc", ["'modle'", "Did you mean 'model'?"]),
        ("%%exsa --draft-length 99\nabc", ["draft_length is 99", '"auto"']),
        ("%%exsa --view token\nabc", ["'token'", "Did you mean 'tokens'?"]),
        ("%%exsa --no-chat --system abc\nabc", ["system needs chat=True"]),
        ("%%exsa --stop ''\nabc", ["stop"]),
        ("%%exsa --name 1st\nabc", ["--name is '1st'", "variable name"]),
        ("%%exsa --name class\nabc", ["--name is 'class'"]),
        ("%%exsa --system 'abc\nabc", ["quotation mark"]),
        ("%%exsa abc\nabc", ["'abc' is not expected", "%%exsa?"]),
        ("%%exsa\n  \n", ["the cell is empty", "below the %%exsa line"]),
        ("%exsa_load --n-ctxt 9", ["'--n-ctxt'", "Did you mean '--n-ctx'?"]),
        ("%exsa_load --n-ctx 0", ["n_ctx is 0"]),
        ("%exsa_load smollm2-135m-draft --draft none --cost-factor ten", ["the cost factor is 'ten'", "from 1 to 64"]),
        ("%exsa_cancel", ["required: ID|all"]),
        ("%exsa_cancel 77", ["no generation '77'", "None is active"]),
        ("%exsa_bench decoode", ["'decoode'", "Did you mean 'decode'?"]),
        ("%exsa_unload now", ["'now' is not expected"]),
    ],
)
def test_a_mistake_is_one_line(ip: Shell, engine: Engine, cell: str, words: list[str]) -> None:
    line = one_line(ip.run(cell))
    for word in words:
        assert word in line
    assert ip.run("%%exsa --max-tokens 3 --view none\nabc").succeeded
    assert ip.ip.user_ns["_exsa"].text == "def"


def test_a_cell_without_a_body_is_refused(ip: Shell, engine: Engine) -> None:
    result = ip.run("%%exsa --max-tokens 3")
    assert not result.succeeded
    assert "the cell body is empty" in result.stderr


def test_a_mistake_loads_no_model(ip: Shell) -> None:
    loading.unload()
    one_line(ip.run("%%exsa --max-tokens 0\nabc"))
    with pytest.raises(EngineNotLoaded):
        loading.get_engine()


def test_a_prompt_too_long(ip: Shell) -> None:
    loading.use(scripted_engine(alphabet(), n_ctx=64))
    line = one_line(ip.run("%%exsa --view none\n" + "abc" * 100), "PromptTooLong")
    assert "64" in line
    assert ip.run("%%exsa --max-tokens 3 --view none\nabc").succeeded
    loading.unload()


def test_a_defect_keeps_its_traceback(ip: Shell, engine: Engine) -> None:
    def break_down(_entries: list[Entry]) -> None:
        raise ZeroDivisionError("a defect")

    engine.call(lambda loop: setattr(loop.context, "before_decode", break_down))
    result = ip.run("%%exsa --view none\nabc")
    assert isinstance(result.error, DecodeError)
    assert "Traceback" in result.stdout
    assert "ZeroDivisionError: a defect" in result.stdout
    engine.call(lambda loop: setattr(loop.context, "before_decode", None))
    assert ip.run("%%exsa --max-tokens 3 --view none\nabc").succeeded


def test_names_from_files_cannot_act_on_the_terminal() -> None:
    error = ConfigError("the file \x1b[2J\u202e says\nmore.")
    assert error._render_traceback_() == ["ConfigError: the file \\x1b[2J\\u202e says\\nmore."]


def test_status(ip: Shell, engine: Engine) -> None:
    ip.run("%%exsa --max-tokens 3 --view none\nabc")
    text = ip.run("%exsa_status").text()
    assert "Engine: open" in text
    assert "3 tokens in" in text
    loading.unload()
    assert "No engine is loaded" in ip.run("%exsa_status").text()


def test_cancel_all_and_cancel_again(ip: Shell, slow_engine: Engine) -> None:
    for _ in range(3):
        ip.run("%%exsa -b --name out --max-tokens 2000 --draft-length 0 --view none\nabc")
    assert "Cancelled generations 1, 2, 3." in ip.run("%exsa_cancel all").stdout
    assert slow_engine.drain(60)
    assert "cancelled already" in ip.run("%exsa_cancel out").stdout
    assert "Nothing is waiting or running" in ip.run("%exsa_cancel all").stdout


def test_models_doctor_and_bench_lists(ip: Shell, engine: Engine) -> None:
    assert "smollm2-135m-draft" in ip.run("%exsa_models").text()
    assert "GPU offload" in ip.run("%exsa_doctor").text()
    assert "decode" in ip.run("%exsa_bench").stdout


def test_the_extension_can_be_reloaded(ip: Shell, engine: Engine) -> None:
    assert ip.run("%reload_ext exsa_lab").succeeded
    assert ip.run("%%exsa --max-tokens 3 --view none\nabc").succeeded


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    try:
        assert made.run("%load_ext exsa_lab").succeeded
        yield made
    finally:
        made.close()


def answers(kernel: Kernel) -> None:
    """The engine still serves."""
    result = kernel.run("%%exsa --max-tokens 4 --name check\nSay hello.")
    assert result.succeeded, result.evalue
    assert kernel.run("assert check.state == 'finished' and check.text").succeeded


@pytest.mark.real
def test_real_cell_streams_and_leaves_html(kernel: Kernel) -> None:
    result = kernel.run("%%exsa --max-tokens 24 --draft-length 3 --name sky\nWhy is the sky blue?")

    assert result.succeeded
    assert "Loaded SmolLM2-135M-Instruct" in result.text()
    assert "blue" in result.text()
    assert "accepted" in result.html()
    assert "<script" not in result.html()
    assert kernel.run("assert sky.stats.generated_tokens == 24").succeeded


@pytest.mark.real
def test_real_interrupt_while_decoding(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    answers(kernel)
    request = kernel.start_until("%%exsa --max-tokens 4000\nWrite a very long story.", "len(gen.tokens) > 5")
    kernel.interrupt()
    result = kernel.finish(request)

    _print_latency(capsys, "decoding", result)
    assert result.ename == "CellInterrupted"
    assert result.evalue.startswith("Interrupted after ")
    assert result.traceback == [result.evalue]
    assert kernel.run("assert _exsa.state == 'cancelled' and _exsa.text, _exsa").succeeded
    answers(kernel)


@pytest.mark.real
def test_real_interrupt_while_a_long_prompt_is_read(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    answers(kernel)
    asked = "%%exsa --max-tokens 2000 --view none\n" + "The quick brown fox jumps. " * 400
    request = kernel.start_until(asked, "gen.stats.prompt_tokens > 2000")
    kernel.interrupt()
    result = kernel.finish(request)

    _print_latency(capsys, "reading a prompt of more than 2,000 tokens", result)
    assert result.ename == "CellInterrupted"
    assert kernel.run("assert _exsa.state == 'cancelled' and _exsa.stats.prompt_tokens > 2000, _exsa").succeeded
    answers(kernel)


def _print_latency(capsys: pytest.CaptureFixture[str], what: str, result: CellResult) -> None:
    with capsys.disabled():
        print(f"\n  interrupted while {what}: the cell ended after {result.seconds:.3f} s")


def mismatched_draft(folder: Path) -> Path:
    """A copy of the draft with one token's text changed, to one of the same length."""
    raw = resolve("smollm2-135m-draft").path.read_bytes()
    word = "Ġthought".encode()
    entry = struct.pack("<Q", len(word)) + word
    assert raw.count(entry) == 1
    path = folder / "other-words.gguf"
    path.write_bytes(raw.replace(entry, struct.pack("<Q", len(word)) + "Ġthinked".encode()[: len(word)]))
    return path


@pytest.mark.real
def test_real_bad_input_is_one_line(kernel: Kernel, tmp_path: Path) -> None:
    target = resolve("smollm2-135m").path
    (tmp_path / "cut.gguf").write_bytes(target.read_bytes()[: 30 << 20])
    (tmp_path / "text.gguf").write_text("this is no model")
    draft = mismatched_draft(tmp_path)
    answers(kernel)
    for cell, kind, words in [
        (f"%exsa_load {tmp_path}/nothing.gguf", "ModelNotFound", "nothing.gguf"),
        (f"%exsa_load {tmp_path}/text.gguf", "InvalidModel", "not a GGUF"),
        (f"%exsa_load {tmp_path}/cut.gguf", "InvalidModel", "cut.gguf"),
        (f"%exsa_load --draft {draft}", "VocabularyMismatch", "token "),
        ("%%exsa\n" + "many words and more " * 3000, "PromptTooLong", "8"),
        ("%%exsa --max-tokens 0\nhi", "ConfigError", "max_tokens is 0"),
        ("%%exsa --max-tokens -1\nhi", "ConfigError", "max_tokens is -1"),
        ("%%exsa --temperature nan\nhi", "ConfigError", "temperature is nan"),
        ("%%exsa --temprature 1\nhi", "ConfigError", "Did you mean '--temperature'?"),
        ("%%exsa\n\n", "ConfigError", "the cell is empty"),
        ("xl_missing = __import__('exsa_lab').load('smollm2-1')", "ModelNotFound", "Did you mean"),
    ]:
        result = kernel.run(cell)
        assert result.ename == kind, (cell[:60], result.ename, result.evalue)
        assert result.traceback == [f"{kind}: {result.evalue}"], cell[:60]
        assert words in result.evalue, result.evalue
        assert "\n" not in result.evalue
        answers(kernel)


HOSTILE = """
from exsa_lab import loading
from exsa_lab.testing import ScriptedModel, scripted_engine
pieces = [b"a", b"<script>alert(1)</script>", b"\\x1b[31mred\\x1b[2J", b"\\xff\\xfe", b"$x$ <img src=x onerror=a()>"]
def next_probs(tokens):
    return [float(i == (tokens[-1] + 1) % 5) for i in range(5)]
loading.use(scripted_engine(ScriptedModel(pieces, next_probs, name="<b>hostile</b>")));
"""


def test_hostile_output_is_shown_literally(kernel: Kernel) -> None:
    assert kernel.run(HOSTILE).succeeded
    for view in ("tokens", "text"):
        result = kernel.run(f"%%exsa --max-tokens 4 --view {view}\na")
        assert result.succeeded, result.evalue
        assert "<script" not in result.html()
        assert "<img" not in result.html()
        assert "\x1b" not in result.html() + result.text()
        assert "<script>alert(1)</script>" in result.text()
        assert "\ufffd" in result.text()
    for command in ("%exsa_status", "%exsa_doctor", "%exsa_jobs --once"):
        result = kernel.run(command)
        assert result.succeeded, result.evalue
        assert "<b>hostile" not in result.html()
    assert kernel.run("loading.unload()").succeeded


def test_the_error_a_headless_run_sees(ip: Shell, engine: Engine) -> None:
    """nbclient and papermill stop at a cell whose reply is an error, and quote its name and value."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    cells = [nbformat.v4.new_code_cell(c) for c in ("%load_ext exsa_lab", "%%exsa --max-tokns 1\nabc", "later = 1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError) as caught:
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert caught.value.ename == "ConfigError"
    assert caught.value.evalue == "unknown option '--max-tokns'. Did you mean '--max-tokens'?"
    assert notebook.cells[1].outputs[0].traceback == [f"ConfigError: {caught.value.evalue}"]
    assert notebook.cells[2].execution_count is None


def test_variables_of_the_chat_template(ip: Shell) -> None:
    template = "{{ enable_thinking is defined and enable_thinking }}{{ reasoning_effort }}{{ a }}"
    pieces = ["True", "False", "high", "1", "."]
    loading.unload()
    loading.use(scripted_engine(ScriptedModel(pieces, lambda tokens: [0, 0, 0, 0, 1], chat_template=template)))
    for line, text in (
        ("--no-think", "False"),
        ("--think --reasoning-effort high", "Truehigh"),
        ("""--think --chat-template-kwargs '{"a": 1}'""", "True1"),
    ):
        assert ip.run(f"%%exsa {line} --max-tokens 1 --view none\nhi").succeeded
        assert "".join(pieces[token] for token in ip.ip.user_ns["_exsa"].prompt_ids) == text
    shown = ip.run("%exsa_template").stdout
    assert shown == "True1\n2 tokens\n"
    assert "chat_template_kwargs is 'no'" in one_line(ip.run("%%exsa --chat-template-kwargs no\nhi"))
    loading.unload()


def test_a_prompt_is_shown_as_it_was_sent(ip: Shell) -> None:
    pieces = ["<|user|>", "<", "|", "user", ">", "a", "\n", "."]
    template = "<|user|>{{ messages[0].content }}\n<|user|>"
    loading.unload()
    model = ScriptedModel(pieces, lambda tokens: [0] * 7 + [1], control=[0], chat_template=template, ends=[7])
    loading.use(scripted_engine(model))
    assert ip.run("%%exsa --view none\na<|user|>").succeeded
    assert ip.run("%exsa_template").stdout == "\u00ab<|user|>\u00bba<|user|>\n\u00ab<|user|>\u00bb\n9 tokens\n"
    assert "there is no generation 'x'" in one_line(ip.run("%exsa_template x"))
    loading.unload()


def test_notes_are_told(ip: Shell) -> None:
    pieces = ["<think>", "</think>", "<|x|>", "a", "."]
    template = "{{ messages[0].content }}<think>{{ '</think>' if false }}"
    loading.unload()
    loading.use(scripted_engine(ScriptedModel(pieces, lambda tokens: [0, 0, 0, 1, 0], chat_template=template)))
    told = ip.run("%%exsa --view none --max-tokens 2\na").stdout
    assert told.startswith("Note: the text ends inside the thought: raise max_tokens")
    loading.unload()
