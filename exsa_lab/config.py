"""What can be set: one engine, and one request. Frozen, validated, every field with its unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from exsa_lab.checks import as_list as as_list
from exsa_lab.checks import biases, flag, number, prompt_logprobs, stops, suppressed
from exsa_lab.checks import did_you_mean as did_you_mean
from exsa_lab.checks import settle as settle
from exsa_lab.checks import whole as whole
from exsa_lab.errors import ConfigError, shown
from exsa_lab.events import MAX_TOP
from exsa_lab.forms import Form, find_form, model_of, own_choice, own_format, own_text
from exsa_lab.plain import plain
from exsa_lab.tools import Tool, callable_tools, check_room_for_tools, own_tool_choice, own_tools

DrafterName = Literal["auto", "model", "ngram", "none"]
DRAFTER_NAMES: tuple[str, ...] = get_args(DrafterName)

Overflow = Literal["drop", "error"]
OVERFLOWS: tuple[str, ...] = get_args(Overflow)

KVType = Literal["f16", "bf16", "q8_0", "q4_0"]
KV_TYPES: tuple[str, ...] = get_args(KVType)

MAX_DRAFT_LENGTH = 16
"""Longest draft in tokens. Beyond it the batch of one sequence outgrows every measured gain."""
_TEMPLATE_VARIABLES = frozenset(
    {"messages", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token"}
)
"""Variables of a chat template that follow from the prompt."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is generated.

    Example: ``SamplingParams(max_tokens=64, temperature=0.8, seed=1)``.
    """

    max_tokens: int = 256
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy; 1 is the model's own distribution."""
    top_k: int = 0
    """Keep the k most probable tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probabilities sum to at least this (nucleus)."""
    min_p: float = 0.0
    """Drop tokens less probable than this fraction of the most probable one."""
    repeat_penalty: float = 1.0
    """Divides the logits of tokens that occur in the last ``penalty_last_n`` ones; 1 does nothing."""
    presence_penalty: float = 0.0
    """Taken off the logit of each token that occurs there."""
    frequency_penalty: float = 0.0
    """Taken off it for each time that it occurs there."""
    penalty_last_n: int = 64
    """How many of the last tokens the penalties look at, prompt included; -1 looks at all, 0 at none."""
    logit_bias: dict[int | str, float] = field(default_factory=dict, hash=False)
    """Added to the logits of tokens: ``{token or its text: bias}``. A text of digits is a token's number."""
    suppress_tokens: tuple[int | str, ...] = ()
    """Tokens that are never generated, by number or by text, beside those that the model's file names."""
    response_format: Any = field(default=None, hash=False)
    """The form of the text as JSON: a pydantic model, ``{"type": "json_schema", "schema": {...}}``, or
    ``{"type": "json_object"}``; `Generation.parsed` is then the object."""
    regex: str | None = None
    """A regular expression that the whole text matches."""
    grammar: str | None = None
    """A grammar that the whole text follows: Lark, or GBNF as llama.cpp has it."""
    choice: tuple[str, ...] | None = None
    """Texts of which the text is one."""
    top_logprobs: int = 0
    """Record the so many most probable tokens at each place, 20 at most, with their probabilities; 0 records none."""
    prompt_logprobs: bool | int = 0
    """True records how unexpected each token of the prompt was; a number, 20 at most, that many alternatives too. The
    prompt is then read anew, whatever of it is cached."""
    tools: tuple[Tool, ...] = field(default=(), hash=False)
    """Functions that the model may call, as OpenAI's interface has them; `Generation.tool_calls` are its calls."""
    tool_choice: str | Tool = field(default="auto", hash=False)
    """"auto": text, calls or both; "required": calls; "none"; ``{"type": "function", "function": {"name": ...}}``."""
    parallel_tool_calls: bool = True
    """Whether one reply may have several calls, where the model's template can write them."""
    seed: int | None = None
    """Seed of the request's own random stream; None draws one (it is kept in the trace)."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation; they are not part of the result."""
    chat: bool = True
    """Render the prompt with the model's chat template; False is raw completion."""
    system: str | None = None
    """System message, with ``chat=True`` only."""
    prefill: str | None = None
    """Beginning of the assistant's reply, which the model goes on with; with ``chat=True`` only."""
    continue_final: bool | None = None
    """Go on with the last message instead of answering it; None does so where it is the assistant's."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    """More variables of the chat template, such as ``{"enable_thinking": False}`` or ``{"tools": [...]}``."""
    reasoning_budget: int | None = None
    """Most tokens of a thought, which is closed by the chat template's own marker then; None sets no limit."""
    overflow: Overflow = "drop"
    """What to do when a conversation has outgrown the context: leave out its oldest turns, or refuse it."""
    keep_cells: bool = False
    """Keep its cells for a prompt that goes on from it as long as there is room, even where that slows down others."""
    special: bool = False
    """With ``chat=False``: read control tokens such as ``<|im_start|>`` in the prompt as such, not as text."""
    drafter: DrafterName = "auto"
    """Who proposes draft tokens."""
    draft_length: int | Literal["auto"] = "auto"
    """Draft tokens per round: "auto" measures what pays, 0 is plain decoding."""
    timeout: float | None = None
    """Seconds after which the generation is cancelled, its partial text kept; None waits forever."""

    def __post_init__(self) -> None:
        settle(
            self,
            max_tokens=whole("max_tokens", self.max_tokens, 1, 1 << 24),
            temperature=number("temperature", self.temperature, 0.0, 100.0),
            top_k=whole("top_k", self.top_k, 0, 1 << 24),
            top_p=number("top_p", self.top_p, 0.0, 1.0),
            min_p=number("min_p", self.min_p, 0.0, 1.0),
            repeat_penalty=number("repeat_penalty", self.repeat_penalty, 0.01, 100.0),
            presence_penalty=number("presence_penalty", self.presence_penalty, -100.0, 100.0),
            frequency_penalty=number("frequency_penalty", self.frequency_penalty, -100.0, 100.0),
            penalty_last_n=whole("penalty_last_n", self.penalty_last_n, -1, 1 << 24),
            logit_bias=biases(self.logit_bias),
            suppress_tokens=suppressed(self.suppress_tokens),
            top_logprobs=whole("top_logprobs", self.top_logprobs, 0, MAX_TOP),
            prompt_logprobs=prompt_logprobs(self.prompt_logprobs),
            chat=flag("chat", self.chat),
            stop=stops(self.stop),
        )
        if self.top_p == 0.0:
            raise ConfigError("top_p is 0, which keeps no token.", hint="Use top_k=1 or temperature=0.")
        if self.seed is not None:
            settle(self, seed=whole("seed", self.seed, 0, 2**64 - 1))
        if not isinstance(self.drafter, str) or self.drafter not in DRAFTER_NAMES:
            near = did_you_mean(str(self.drafter), DRAFTER_NAMES) if isinstance(self.drafter, str) else ""
            hint = f"It must be one of {', '.join(DRAFTER_NAMES)}.{near}"
            raise ConfigError(f"drafter is {shown(self.drafter)}.", hint=hint)
        if not isinstance(self.draft_length, str) or self.draft_length != "auto":
            length = whole("draft_length", self.draft_length, 0, MAX_DRAFT_LENGTH, extra=' or "auto"')
            settle(self, draft_length=length)
        if self.timeout is not None:
            seconds = number("timeout", self.timeout, 0.0, math.inf)
            settle(self, timeout=None if seconds == math.inf else seconds)
        self._settle_prompt()
        settle(
            self,
            response_format=own_format(self.response_format),
            regex=own_text("regex", self.regex),
            grammar=own_text("grammar", self.grammar),
            choice=own_choice(self.choice),
        )
        find_form(self.response_format, self.regex, self.grammar, self.choice)
        tools = own_tools(self.tools)
        is_parallel = flag("parallel_tool_calls", self.parallel_tool_calls)
        settle(self, tools=tools, tool_choice=own_tool_choice(self.tool_choice, tools), parallel_tool_calls=is_parallel)
        if callable_tools(self.tools, self.tool_choice):
            forms = {"regex": self.regex, "grammar": self.grammar, "choice": self.choice}
            check_room_for_tools(forms, self.chat_template_kwargs, chat=self.chat)

    @property
    def template_variables(self) -> dict[str, Any]:
        """Variables of the chat template beside those that follow from the prompt."""
        tools = [] if self.tool_choice == "none" else list(self.tools)
        return {**self.chat_template_kwargs, **({"tools": tools} if tools else {})}

    @property
    def form(self) -> Form | None:
        """The form of the text; None where it has any."""
        return find_form(self.response_format, self.regex, self.grammar, self.choice)

    def _settle_prompt(self) -> None:
        """Check what shapes the prompt."""
        for name in ("system", "prefill"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} is {shown(getattr(self, name))}.", hint="It must be a text.")
        for name in ("special", "keep_cells"):
            settle(self, **{name: flag(name, getattr(self, name))})
        if not isinstance(self.overflow, str) or self.overflow not in OVERFLOWS:
            raise ConfigError(f"overflow is {shown(self.overflow)}.", hint=f"It must be one of {', '.join(OVERFLOWS)}.")
        if self.continue_final is not None:
            settle(self, continue_final=flag("continue_final", self.continue_final))
        kwargs = self.chat_template_kwargs
        if not isinstance(kwargs, Mapping):
            raise ConfigError(f"chat_template_kwargs is {shown(kwargs)}.", hint='Such as {"enable_thinking": False}.')
        settle(self, chat_template_kwargs=plain(kwargs, "chat_template_kwargs"))
        for name in _TEMPLATE_VARIABLES.intersection(kwargs):
            raise ConfigError(f"chat_template_kwargs sets {name}.", hint="It follows from the prompt: leave it out.")
        if self.reasoning_budget is not None:
            settle(self, reasoning_budget=whole("reasoning_budget", self.reasoning_budget, 0, 1 << 24))
        for name in ("system", "prefill", "continue_final", "chat_template_kwargs", "reasoning_budget"):
            if not self.chat and getattr(self, name) not in (None, {}):
                raise ConfigError(f"{name} needs chat=True.", hint="Raw completion goes on with the prompt itself.")
        if self.special and self.chat:
            raise ConfigError("special needs chat=False.", hint="A chat template writes the control tokens itself.")

    def as_json(self) -> dict[str, Any]:
        """Return the parameters as JSON can hold them; ``from_kwargs`` reads them again."""
        values = asdict(self)
        biases = {str(token): bias for token, bias in self.logit_bias.items()}
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists | {"logit_bias": biases}

    @classmethod
    def from_kwargs(cls, **params: Any) -> SamplingParams:
        """Build from keywords; an unknown one is an error with a suggestion."""
        names = [f.name for f in fields(cls)]
        for name in params:
            if name not in names:
                raise ConfigError(
                    f"unknown parameter {shown(name)}.",
                    hint=did_you_mean(name, names).strip() or "help(exsa_lab.SamplingParams) lists them.",
                )
        return cls(**params)

    @classmethod
    def own(cls, **params: Any) -> dict[str, Any]:
        """Return the keywords as checked copies, for who uses them more than once: an iterator is read but once.

        A pydantic model is kept as it is. Raises as `from_kwargs` does.
        """
        checked = cls.from_kwargs(**params)
        return {name: getattr(checked, name) if model_of(value) is None else value for name, value in params.items()}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one engine runs. The planner fills it; anything given by the user wins."""

    n_ctx: int = 8192
    """KV cells shared by all sequences, in tokens."""
    n_seq_max: int = 16
    """Sequences that run at once; the others wait."""
    n_batch: int = 2048
    """Most tokens handed to one llama_decode call."""
    n_ubatch: int = 512
    """Most tokens computed at once inside it."""
    step_tokens: int = 512
    """Token budget of one engine step (decode first, then prefill chunks)."""
    prefill_beside_decode: int = 0
    """Prefill tokens that may share a step with decoding sequences, up to ``small_step`` with them; 0 takes as many as
    steps that really ran allow."""
    small_step: int = 63
    """Most tokens of a step that several sequences share, while prompts are read; 0 sets no limit. llama.cpp's CPU
    attention takes another kernel from 64 tokens on, whose rounding differs: while nobody decodes, a prompt that has
    more than this left is read in larger steps of its own, as it would be without company."""
    n_threads: int = 0
    """CPU threads; 0 means one per usable core."""
    n_gpu_layers: int = 0
    """Layers of the target offloaded to the GPU; -1 means all."""
    draft_gpu_layers: int = 0
    """Layers of the draft offloaded to the GPU; -1 means all."""
    kv_type: KVType = "f16"
    """How the KV cache is stored: bf16 takes as much memory as f16, q8_0 half and q4_0 a quarter, all a little less
    exact; docs/planner.md says which is fast where."""
    n_rs_seq: int = 8
    """Snapshots kept of each sequence's recurrent state: the longest draft of hybrid models. Attention needs none, and
    llama.cpp grants them to some architectures only. Each takes as much memory as the state itself."""
    lookup_history: bool = True
    """Look drafts up in the finished texts of this engine too, of which the newest million tokens are kept, in at most
    48 MiB; under temperature 0 what is generated depends on it at near ties only. ``engine.forget_texts()`` drops
    them."""
    cached_states: int = 4
    """Finished sequences whose recurrent state is kept beside those that run; each takes as much memory as one."""
    checkpoint_bytes: int = 1 << 28
    """Most bytes of main memory for states of prompts read before, which recurrent and hybrid models go on from."""
    flash_attention: bool = True
    """Keeps batched and single-token logits close to each other as well as being faster."""
    prefix_cache_tokens: int = 512
    """Cells of finished generations kept for prompts that begin alike once nobody runs, beyond the newest one's.
    0 keeps none, not even the newest one's; a conversation keeps its own all the same."""
    fast_cells: int = 256
    """Cells in use up to which a step is fastest: cached ones are given up for a short prompt that comes alone.
    llama.cpp's CPU attention takes another kernel from 257 cells on, which costs the default target 1.4 of 7.4 ms; 0 on
    a GPU, where it does not matter."""
    probabilities: bool | Literal["auto"] = "auto"
    """Record each token's probability under greedy decoding too, the target's and the draft's, which costs one pass
    over the logits per token; "auto" does it where somebody looks: while a view or a stream listens, and on a CPU,
    where it is little beside a step, in rounds that verify a draft."""
    reproducible: bool = False
    """Texts under temperature 0 do not depend, not even in near ties, on which other requests share their steps.
    On a CPU that needs weights that llama.cpp rounds alike however many tokens share a step: Q8_0, Q5_0, Q4_1, Q4_0 and
    IQ4_NL are such; F32, F16, BF16 and k-quants (Q4_K_M, Q6_K) are not, and their near ties may fall otherwise.
    The price on a CPU: drafts only for a request that is alone, finished requests keep their cells until nobody
    decodes, and a lone long text decodes slower; on a GPU: small batches are computed as eight tokens. A request that
    fails is the exception: its cells are given up at once.

    It needs other settings beside it, which `exsa_lab.planner.plan` chooses: ``n_ubatch=63`` on a CPU, where longer
    micro-batches take another kernel, ``prefix_cache_tokens=n_ctx`` and ``fast_cells=0``."""
    max_waiting: int = 1024
    """Most generations that may wait for a slot before new ones are refused."""
    default_draft_length: int = 3
    """Draft length used by "auto" while nothing has been measured."""
    recalibrate: bool = False
    """Measure the cost of a step anew instead of taking it from the cache on disk."""

    def __post_init__(self) -> None:
        for name, (low, high) in _ENGINE_BOUNDS.items():
            settle(self, **{name: whole(name, getattr(self, name), low, high)})
        for name in ("flash_attention", "reproducible", "recalibrate", "lookup_history"):
            settle(self, **{name: flag(name, getattr(self, name))})
        if not isinstance(self.kv_type, str) or self.kv_type not in KV_TYPES:
            raise ConfigError(f"kv_type is {shown(self.kv_type)}.", hint=f"It must be one of {', '.join(KV_TYPES)}.")
        if not isinstance(self.probabilities, str) or self.probabilities != "auto":
            settle(self, probabilities=flag("probabilities", self.probabilities, extra=' or "auto"'))
        if min(self.n_batch, self.step_tokens) < self.n_seq_max:
            raise ConfigError(
                f"n_seq_max is {self.n_seq_max} but a step takes only {min(self.n_batch, self.step_tokens)} tokens.",
                hint="Every sequence needs one token per step: raise n_batch and step_tokens, or lower n_seq_max.",
            )


_ENGINE_BOUNDS: dict[str, tuple[int, int]] = {
    "n_ctx": (32, 1 << 24),
    "n_seq_max": (1, 255),
    "n_batch": (1, 1 << 20),
    "n_ubatch": (1, 1 << 20),
    "step_tokens": (1, 1 << 20),
    "prefill_beside_decode": (0, 1 << 20),
    "small_step": (0, 1 << 20),
    "n_threads": (0, 4096),
    "n_gpu_layers": (-1, 100_000),
    "draft_gpu_layers": (-1, 100_000),
    "n_rs_seq": (0, MAX_DRAFT_LENGTH),
    "cached_states": (1, 255),
    "checkpoint_bytes": (0, 1 << 44),
    "fast_cells": (0, 1 << 24),
    "prefix_cache_tokens": (0, 1 << 24),
    "max_waiting": (1, 1 << 24),
    "default_draft_length": (0, MAX_DRAFT_LENGTH),
}
