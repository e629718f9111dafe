"""The notebook commands. Each one parses its line, calls, and displays; everything else is elsewhere."""

from __future__ import annotations

import argparse
import keyword
from dataclasses import fields
from typing import Any, cast

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from exsa_lab import loading
from exsa_lab.config import EngineConfig, SamplingParams, did_you_mean, whole
from exsa_lab.conversation.cells import Cell, Conversations
from exsa_lab.conversation.reading import chats_section
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, EngineNotLoaded
from exsa_lab.magics.against_plain import against_plain
from exsa_lab.magics.arguments import cell_usage, literal, option_fields, parse
from exsa_lab.magics.completion import completer
from exsa_lab.magics.form import form_params
from exsa_lab.magics.formatting import fill
from exsa_lab.magics.interrupts import CellInterrupted, watch
from exsa_lab.magics.progress import load_with_progress
from exsa_lab.models.conversion import FORMATS
from exsa_lab.prompts.preview import shown_prompt
from exsa_lab.races import MAX_REPEATS
from exsa_lab.widgets.display import VIEW_NAMES, ViewName, show

LATEST = "_exsa"
"""The variable that always holds the latest generation of a cell."""

_WEIGHTS_HELP = f"Convert the target to this weight format first, once: {', '.join(FORMATS)}."
_COST_HELP = "Make a token of the target cost so many times as much, with the same text (default: 1)."
_ISOLATE_HELP = (
    "Keep the engine in a process of its own, so that a crash ends that process and not this one"
    " (default: where a file is not of the catalog)."
)
_RACE_HELP = (
    "Race the cell's options against plain decoding, N runs of each (default: 1), and replay them on one clock. --name "
    "gets the race."
)
_CHAT_HELP = "Go on with this conversation, a variable that holds an xl.Chat, or with the notebook's only one."
_NO_CHAT_HELP = "Raw completion: do not render the prompt with the model's chat template."
_SCHEMA_HELP = "Fill a JSON schema: a variable that holds a pydantic model or a schema, a file, or object for any."
_GRAMMAR_HELP = "Follow a grammar, Lark or GBNF: a variable that holds its text, a file, or the text itself."
_TRIAL_HELP = "Load both files in a child process first: for files that might crash this one."


NO_OPTIONS = ("tools", "tool_choice", "parallel_tool_calls")
"""What only a program can do something with: it runs the tools, and goes on."""


@magics_class
class ExsaMagics(Magics):
    """Generate from a cell, and look after the kernel's engine."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        for kind, names in self.magics.items():
            prefix = "%%" if kind == "cell" else "%"
            for name in names:
                shell.set_hook("complete_command", completer(getattr(self, name)), str_key=prefix + name)
        self._conversations = Conversations(shell.user_ns, hidden=shell.user_ns_hidden)

    # Generating

    @cell_magic
    @cell_usage
    @magic_arguments()
    @argument("--name", metavar="VAR", help="Variable that gets the generation; _exsa always gets it.")
    @argument(
        "-b", "--background", action="store_true", help="Return at once; the output goes on while other cells run."
    )
    @argument("--view", choices=VIEW_NAMES, default="tokens", help="How to show it (default: tokens).")
    @argument("--format", action="store_true", help="Fill {name} in the cell from the notebook's variables.")
    @argument("--race", nargs="?", const=1, type=literal, metavar="N", help=_RACE_HELP)
    @argument(
        "--think",
        action=argparse.BooleanOptionalAction,
        help="Have a thinking model think or not: the variable enable_thinking of its chat template.",
    )
    @argument("--chat", dest="conversation", nargs="?", const="", metavar="NAME", help=_CHAT_HELP)
    @argument("--no-chat", dest="chat", action="store_false", default=argparse.SUPPRESS, help=_NO_CHAT_HELP)
    @argument("--new", action="store_true", help="With --chat: begin another conversation.")
    @argument("--reasoning-effort", metavar="TEXT", help="How long to think: the template's variable of this name.")
    @argument(
        "--json-schema", dest="response_format", metavar="NAME|FILE", default=argparse.SUPPRESS, help=_SCHEMA_HELP
    )
    @argument("--grammar", metavar="NAME|FILE|TEXT", default=argparse.SUPPRESS, help=_GRAMMAR_HELP)
    @option_fields(SamplingParams, skip=("chat", "response_format", "grammar", *NO_OPTIONS))
    def exsa(self, line: str, cell: str) -> None:
        """Generate text from the prompt in this cell, loading the default models if none are loaded.

        The generation is in _exsa: its text, tokens, stats and trace. Interrupting the kernel stops it and keeps the
        text so far.
        """
        args = parse(self.exsa, line)
        prompt = self._prompt(cell, args)
        params = _given(args, SamplingParams) | _template_variables(args)
        params |= form_params(params, self.shell.user_ns)
        SamplingParams.from_kwargs(**params)  # a mistake should not wait for a model to load
        engine = self._engine()
        if args.race is not None:
            self._race(engine, prompt, args, params)
            return
        generation = engine.submit(prompt, **params) if args.conversation is None else self._ask(prompt, args, params)
        self._bind(generation, args.name)
        if args.background:
            show(generation, args.view)
            if args.view == "none" or not hasattr(self.shell, "kernel"):
                print(f"Generation {generation.id} runs in the background; _exsa.result() waits for its text.")
            return
        watch(generation, cast(ViewName, args.view))
        generation.result()
        is_strip = args.view == "tokens" and hasattr(self.shell, "kernel")
        for note in generation.remarks:
            if not (is_strip and note in generation.notes):  # those stand in the strip
                print(f"Note: {note}.")

    @line_magic
    @magic_arguments()
    @argument("which", nargs="?", default=LATEST, metavar="ID|VAR", help="The generation (default: the latest).")
    def exsa_template(self, line: str) -> None:
        """Show a generation's prompt as it was sent, after the chat template, with control tokens in guillemets."""
        engine = loading.get_engine()
        generation = self._find(parse(self.exsa_template, line).which, engine)
        print(shown_prompt(engine.target, generation.prompt_ids))
        print(f"{len(generation.prompt_ids):,} tokens")

    @line_magic
    @magic_arguments()
    @argument("which", metavar="ID|all", help="Number of the generation, its variable, or all.")
    def exsa_cancel(self, line: str) -> None:
        """Cancel a generation, or all of them; the text so far is kept."""
        which = parse(self.exsa_cancel, line).which
        active = loading.get_engine().active
        chosen = active if which == "all" else [self._find(which, loading.get_engine())]
        for generation in chosen:
            generation.cancel("%exsa_cancel")
        print(_cancelled(chosen, active))

    @line_magic
    @magic_arguments()
    @argument("--once", action="store_true", help="A snapshot that is not updated.")
    def exsa_jobs(self, line: str) -> None:
        """Show what is waiting, running and done, live, with a button to stop each."""
        from exsa_lab.widgets.jobs import show_jobs

        args = parse(self.exsa_jobs, line)
        show_jobs(loading.get_engine(), self.shell.user_ns, is_live=not args.once)

    @line_magic
    @magic_arguments()
    def exsa_chats(self, line: str) -> None:
        """List the notebook's conversations: turns, tokens, how many were cached in the last prompt, and the model."""
        parse(self.exsa_chats, line)
        from exsa_lab.doctor.report import DoctorReport

        chats = self._conversations.named()
        if chats:
            display(DoctorReport("", (chats_section({name: chat.turns for name, chat in chats.items()}),)))
        else:
            print("There is no conversation. %%exsa --chat begins one.")

    # The engine

    @line_magic
    @magic_arguments()
    @argument(
        "target", nargs="?", default=loading.DEFAULT_TARGET, help="Catalog name or .gguf path (default: %(default)s)."
    )
    @argument("--draft", default="auto", help='The draft: catalog name, .gguf path, "auto" or "none" (default: auto).')
    @argument("--weights", metavar="FORMAT", default=argparse.SUPPRESS, help=_WEIGHTS_HELP)
    @argument("--cost-factor", metavar="N", type=literal, default=argparse.SUPPRESS, help=_COST_HELP)
    @argument("--trial", action="store_true", default=argparse.SUPPRESS, help=_TRIAL_HELP)
    @argument("--isolate", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=_ISOLATE_HELP)
    @option_fields(EngineConfig)
    def exsa_load(self, line: str) -> None:
        """Load target and draft into this kernel; the same line again changes nothing."""
        args = parse(self.exsa_load, line)
        draft = None if args.draft.lower() == "none" else args.draft
        first = {
            name: getattr(args, name) for name in ("weights", "cost_factor", "trial", "isolate") if hasattr(args, name)
        }
        load_with_progress(args.target, draft, **first, **_given(args, EngineConfig))

    @line_magic
    @magic_arguments()
    @argument("search", nargs="*", help="Only those with this text in the prompt or in what was generated.")
    @argument("--limit", type=int, default=50, metavar="N", help="At most so many (default: 50).")
    @argument("--all-kernels", action="store_true", help="Those of all kernels of this user.")
    def exsa_history(self, line: str) -> None:
        """List what was generated, newest first; xl.history(...)[0].trace() opens the first one."""
        from exsa_lab.history_file import history

        args = parse(self.exsa_history, line)
        display(history(" ".join(args.search) or None, limit=args.limit, all_kernels=args.all_kernels))

    @line_magic
    @magic_arguments()
    def exsa_unload(self, line: str) -> None:
        """Close the kernel's engine and free its memory."""
        parse(self.exsa_unload, line)
        print(
            "Unloaded; its memory is free."
            if loading.unload()
            else "No engine is loaded, so there is nothing to unload."
        )

    @line_magic
    @magic_arguments()
    def exsa_status(self, line: str) -> None:
        """Show what the engine is doing and what it holds."""
        from exsa_lab.doctor import status

        parse(self.exsa_status, line)
        display(status())

    @line_magic
    @magic_arguments()
    @argument("--port", type=literal, default=0, metavar="N", help="Where to listen (default: a free port).")
    @argument("--host", default="127.0.0.1", help="The address to listen on (default: %(default)s, this machine only).")
    @argument("--stop", action="store_true", help="Close the server.")
    def exsa_serve(self, line: str) -> None:
        """Put the engine behind an OpenAI-compatible endpoint for other programs; a client's code is shown once.

        Loads the default models if none are loaded. The same line again shows the server that is open.
        """
        from exsa_lab.serve import need_extra, serve, stop

        args = parse(self.exsa_serve, line)
        if args.stop:
            print("The server is closed." if stop() else "No server is open, so there is nothing to close.")
            return
        need_extra()  # before a model is loaded for it
        self._engine()
        display(serve(args.port, args.host))

    # The machine

    @line_magic
    @magic_arguments()
    def exsa_doctor(self, line: str) -> None:
        """Show machine, build, models, plan and memory, what is active, and what to change."""
        from exsa_lab.doctor import report

        parse(self.exsa_doctor, line)
        display(report())

    @line_magic
    @magic_arguments()
    def exsa_models(self, line: str) -> None:
        """List the models of the catalog and which of them are on this machine."""
        from exsa_lab.doctor import models

        parse(self.exsa_models, line)
        display(models())

    @line_magic
    @magic_arguments()
    @argument("name", nargs="?", help="The benchmark; without it they are listed.")
    @argument("rest", nargs=argparse.REMAINDER, help="Its own options.")
    def exsa_bench(self, line: str) -> None:
        """Measure on this machine, in a process of its own, with the output as it comes."""
        from exsa_lab.magics import bench

        args = parse(self.exsa_bench, line)
        if args.name is None:
            print(bench.listing())
        else:
            bench.run([args.name, *args.rest])

    # Parts

    def _prompt(self, cell: str, args: argparse.Namespace) -> str:
        if args.name is not None and (not args.name.isidentifier() or keyword.iskeyword(args.name)):
            raise ConfigError(f"--name is {args.name!r}.", hint="It must be a valid variable name.")
        if args.new and args.conversation is None:
            raise ConfigError("--new begins a conversation.", hint="Write --chat --new, or --chat NAME --new.")
        if args.name is not None and self._conversations.may_be(args.name, args.conversation):
            raise ConfigError(f"--name is {args.name}, which is a conversation's.", hint="Choose another name.")
        if args.race is not None:
            args.race = whole("--race", args.race, 1, MAX_REPEATS)
            if args.background or args.conversation is not None:
                raise ConfigError("a race runs alone.", hint="Leave --background and --chat out.")
        if not cell.strip():
            raise ConfigError("the cell is empty.", hint="Write the prompt below the %%exsa line.")
        text = cell.removesuffix("\n")
        return fill(text, self.shell.user_ns, hidden=self.shell.user_ns_hidden) if args.format else text

    def _race(self, engine: Engine, prompt: str, args: argparse.Namespace, params: dict[str, Any]) -> None:
        """Run a cell's race, and show it."""
        from exsa_lab.widgets.race import race

        try:
            shown = race(prompt, engine=engine, repeats=args.race, **against_plain(params))
        except KeyboardInterrupt:
            raise CellInterrupted("Interrupted: the race is not over, so there is nothing to show.") from None
        self._bind(engine.generations[-1], None)
        if args.name:
            self.shell.user_ns[args.name] = shown
        display(shown)

    def _ask(self, prompt: str, args: argparse.Namespace, params: dict[str, Any]) -> Generation:
        """Ask in a conversation, and print what there is to say about it."""
        rest = {name: value for name, value in params.items() if name != "system"}
        try:
            generation = self._conversations.ask(
                prompt, args.conversation, self._cell(), is_new=args.new, system=params.get("system"), **rest
            )
        except KeyboardInterrupt:
            raise CellInterrupted("Interrupted while the reply before this one was still coming.") from None
        for note in self._conversations.notes:
            print(note)
        return generation

    def _cell(self) -> Cell:
        """The cell that runs now, as far as the front end tells."""
        parent = self.shell.get_parent() if hasattr(self.shell, "get_parent") else {}
        id = parent.get("metadata", {}).get("cellId", "")
        return Cell(str(id), str(parent.get("header", {}).get("msg_id", ""))) if id else Cell()

    def _engine(self) -> Engine:
        try:
            return loading.get_engine()
        except EngineNotLoaded:
            return load_with_progress(loading.DEFAULT_TARGET)

    def _bind(self, generation: Generation, name: str | None) -> None:
        """Before anything waits, so that the handle is there after an interrupt too."""
        self.shell.user_ns[LATEST] = generation
        if name:
            self.shell.user_ns[name] = generation

    def _find(self, which: str, engine: Engine) -> Generation:
        held = self.shell.user_ns.get(which)
        if isinstance(held, Generation):
            return held
        for generation in engine.generations:
            if str(generation.id) == which:
                return generation
        active = [str(generation.id) for generation in engine.active]
        raise ConfigError(
            f"there is no generation {which!r}.{did_you_mean(which, ['all'])}",
            hint=f"Active now: {', '.join(active)}." if active else "None is active now.",
        )


def _given(args: argparse.Namespace, config: type[Any]) -> dict[str, Any]:
    """What the user gave of a configuration's fields."""
    return {field.name: getattr(args, field.name) for field in fields(config) if hasattr(args, field.name)}


def _template_variables(args: argparse.Namespace) -> dict[str, Any]:
    """Variables of the chat template that have options of their own, beside those given by name."""
    named = {"enable_thinking": args.think, "reasoning_effort": args.reasoning_effort}
    given = {name: value for name, value in named.items() if value is not None}
    others = getattr(args, "chat_template_kwargs", {})
    return {"chat_template_kwargs": {**others, **given}} if given and isinstance(others, dict) else {}


def _cancelled(chosen: list[Generation], active: list[Generation]) -> str:
    over = [generation for generation in chosen if generation not in active]
    if over:
        return f"Generation {over[0].id} is {over[0].state} already."
    if not chosen:
        return "Nothing is waiting or running."
    return f"Cancelled generation{'s' * (len(chosen) > 1)} {', '.join(str(generation.id) for generation in chosen)}."
