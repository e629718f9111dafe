"""transformers' generation, plain and assisted, in a process of its own: `Transformers` starts it and asks.

PyTorch and a CUDA build of llama.cpp in one process ended in a crash on an H100, and neither needs the other.

python -m benchmarks.transformers_peer TARGET DRAFT DEVICE
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from exsa_lab.errors import EngineError


class Transformers:
    """Both models in transformers, greedy decoding only."""

    def __init__(self, target: Path, draft: Path, device: str) -> None:
        command = [sys.executable, "-m", __name__, str(target.absolute()), str(draft.absolute()), device]
        clone = Path(__file__).parent.parent
        self._process = subprocess.Popen(command, cwd=clone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def tokens_per_second(self, prompt: list[int], max_tokens: int, is_assisted: bool) -> float:
        """Generate up to ``max_tokens``; prefill counts, as `generate` does not tell it apart.

        Raises EngineError when the process ended; what it had to say is on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps([prompt, max_tokens, is_assisted]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise EngineError(f"the process that runs transformers ended with code {self._process.wait()}.")
        return float(answer)


class PeerModels:
    """Both models, loaded in this process."""

    def __init__(self, target: Path, draft: Path, device: str) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._device = "cuda" if device == "gpu" else "cpu"
        self._target, self._draft = self._load(target), self._load(draft)

    def tokens_per_second(self, prompt: list[int], max_tokens: int, is_assisted: bool) -> float:
        """See `Transformers`."""
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


def main() -> None:
    """Answer each line on stdin, a prompt with its settings, by tokens per second."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the libraries print is no answer
    target, draft, device = sys.argv[1:]
    models = PeerModels(Path(target), Path(draft), device)
    for line in sys.stdin:
        prompt, max_tokens, is_assisted = json.loads(line)
        print(models.tokens_per_second(prompt, max_tokens, is_assisted), file=answers, flush=True)


if __name__ == "__main__":
    main()
