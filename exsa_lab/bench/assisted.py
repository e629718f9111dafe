"""transformers' assisted generation with the same pair: its speed with the draft against its own without.

Both models' weights are read from their GGUF files and dequantized, so that it generates the same kind of text. On a
GPU it computes in bfloat16, on a CPU in float32.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from functools import partial
from pathlib import Path
from typing import Any

from exsa_lab.bench.contenders import AUTO, PLAIN, EngineSetting
from exsa_lab.bench.measure import interleaved, median, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import WORKLOADS
from exsa_lab.engine.engine import Engine

REPEATS = 3
PEER_PLAIN, PEER_ASSISTED = "transformers", "transformers, assisted by the draft"
NEEDED = ("torch", "transformers", "gguf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per prompt (default: 96)")


def missing() -> list[str]:
    """Return the packages this needs and does not find."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(options: Options) -> Report:
    """Measure decoding with and without the draft, in the engine and in transformers."""
    tokens = options.given.tokens or options.pick(96, 8)
    report = Report("assisted", {"model": options.model, "tokens": tokens, "rounds": options.repeats})
    if lacking := missing():
        report.notes.append(f"{' and '.join(lacking)} not installed, so transformers was left out.")
        return report
    (subject,) = subjects(options)
    if subject.draft is None:
        report.notes.append(f"{subject.name} has no draft.")
        return report
    with subject.open_engine() as engine:
        peer = Transformers(subject.path, subject.draft, options.device)
        for workload in options.pick(("chat", "repeat"), ("repeat",)):
            _measure(workload, subject, engine, peer, options, tokens, report)
    return report


def _measure(
    workload: str, subject: Subject, engine: Engine, peer: Transformers, options: Options, tokens: int, report: Report
) -> None:
    prompts = WORKLOADS[workload]
    settings = {PLAIN: EngineSetting(engine, draft_length=0), AUTO: EngineSetting(engine)}

    def ours(setting: EngineSetting, number: int) -> float:
        return setting.in_turn((prompts[number % len(prompts)],), tokens, 0.0, seed=0)

    def theirs(is_assisted: bool, number: int) -> float:
        return peer.tokens_per_second(chat_tokens(engine, prompts[number % len(prompts)]), tokens, is_assisted)

    runs = {name: partial(ours, setting) for name, setting in settings.items()}
    runs |= {PEER_PLAIN: partial(theirs, False), PEER_ASSISTED: partial(theirs, True)}
    found = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(f"{subject.name}, {workload}", "contender", "tok/s", "gain by speculation")
    gains = {AUTO: ratio(found[AUTO], found[PLAIN]), PEER_ASSISTED: ratio(found[PEER_ASSISTED], found[PEER_PLAIN])}
    for name, values in found.items():
        table.add(name, median(values), gains.get(name))
    if options.device == "gpu":
        wanted = gains[PEER_ASSISTED].median
        report.checks.append(
            Check(f"{workload}: gain of auto / that of assisted generation", gains[AUTO].median, wanted)
        )


class Transformers:
    """Both models in transformers, greedy decoding only."""

    def __init__(self, target: Path, draft: Path, device: str) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._device = "cuda" if device == "gpu" else "cpu"
        self._target, self._draft = self._load(target), self._load(draft)

    def tokens_per_second(self, prompt: list[int], max_tokens: int, is_assisted: bool) -> float:
        """Generate up to ``max_tokens``; prefill counts, as `generate` does not tell it apart."""
        ids = self._torch.tensor([prompt], device=self._device)
        begin = time.perf_counter()
        written = self._target.generate(
            ids,
            attention_mask=self._torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            assistant_model=self._draft if is_assisted else None,
        )
        return float((written.shape[1] - len(prompt)) / (time.perf_counter() - begin))

    def _load(self, path: Path) -> Any:
        from exsa_lab.distill.llama import read_llama

        hub: Any = importlib.import_module("transformers")
        dtype = self._torch.bfloat16 if self._device == "cuda" else self._torch.float32
        shape, weights = read_llama(path, "cpu", self._torch.float32)
        config = hub.LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
            rms_norm_eps=shape.norm_epsilon,
            max_position_embeddings=8192,
            tie_word_embeddings="output.weight" not in weights,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
        model = hub.LlamaForCausalLM(config)
        model.load_state_dict(_renamed(weights, shape.heads, shape.kv_heads), strict=False)
        return model.to(self._device, dtype).eval()


_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _renamed(weights: dict[str, Any], heads: int, kv_heads: int) -> dict[str, Any]:
    """Return llama.cpp's weights under transformers' names, with its order of rotary halves."""
    found = {}
    for name, weight in weights.items():
        if name.startswith("blk."):
            _, layer, part, _ = name.split(".")
            if part in ("attn_q", "attn_k"):
                count = heads if part == "attn_q" else kv_heads
                # llama.cpp turns neighbours, transformers the halves of a head.
                pairs = weight.reshape(count, weight.shape[0] // count // 2, 2, weight.shape[1])
                weight = pairs.swapaxes(1, 2).reshape(weight.shape)
            found[f"model.layers.{layer}.{_NAMES[part]}.weight"] = weight
        else:
            places = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
            found[f"{places[name.removesuffix('.weight')]}.weight"] = weight
    if "lm_head.weight" not in found:
        found["lm_head.weight"] = found["model.embed_tokens.weight"]
    return found
