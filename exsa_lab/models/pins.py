"""Which state of a repository a catalog name means: the commit on the hub, and the SHA-256 of each file.

Every hash was found in at least two public sources that do not depend on each other, each time for this repository and
this file; the commits in at least one. A catalog name without a pin means the newest commit, and the hash that the hub
itself states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Pin:
    """A commit ("" where a Python package brings the file), and the SHA-256 of each file, the one to load first.

    Example: ``PINS["qwen3-0.6b"].hashes["Qwen3-0.6B-Q8_0.gguf"]``.
    """

    revision: str
    hashes: Mapping[str, str]


def _pin(revision: str, *files: tuple[str, str]) -> Pin:
    return Pin(revision, MappingProxyType(dict(files)))


PINS: Mapping[str, Pin] = MappingProxyType(
    {
        "smollm2-135m": _pin(
            "",
            ("SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        ),
        "smollm2-135m-draft": _pin(
            "",
            ("smollm2-135m-draft-23m-iq4_nl.gguf", "491b29156a431339eda235f063fde683a99d786444ef8675001c4572c585b36b"),
        ),
        "smollm2-360m": _pin(
            "593b5a2e04c8f3e4ee880263f93e0bd2901ad47f",
            ("smollm2-360m-instruct-q8_0.gguf", "48ab3034d0dd401fbc721eb1df3217902fee7dab9078992d66431f09b7750201"),
        ),
        "smollm2-1.7b": _pin(
            "2d4a76a30b4af41ecd395c35725ac11688d4cfe4",
            ("smollm2-1.7b-instruct-q4_k_m.gguf", "decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33"),
        ),
        "qwen2.5-0.5b": _pin(
            "9217f5db79a29953eb74d5343926648285ec7e67",
            ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db"),
        ),
        "qwen2.5-1.5b": _pin(
            "91cad51170dc346986eccefdc2dd33a9da36ead9",
            ("qwen2.5-1.5b-instruct-q4_k_m.gguf", "6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e"),
        ),
        "qwen2.5-3b": _pin(
            "7dabda4d13d513e3e842b20f0d435c732f172cbe",
            ("qwen2.5-3b-instruct-q4_k_m.gguf", "626b4a6678b86442240e33df819e00132d3ba7dddfe1cdc4fbb18e0a9615c62d"),
        ),
        "qwen2.5-7b": _pin(
            "bb5d59e06d9551d752d08b292a50eb208b07ab1f",
            (
                "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
                "dfce12e3862a5283ccfb88221b48480e58745165de856439950d0f22590580db",
            ),
            (
                "qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf",
                "539cf93f78e887edea1c04e2d7d8cdaca9d01dae9c9025bcb8accbe29df3d72a",
            ),
        ),
        "qwen3-0.6b": _pin(
            "23749fefcc72300e3a2ad315e1317431b06b590a",
            ("Qwen3-0.6B-Q8_0.gguf", "9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031"),
        ),
        "qwen3-1.7b": _pin(
            "90862c4b9d2787eaed51d12237eafdfe7c5f6077",
            ("Qwen3-1.7B-Q8_0.gguf", "061b54daade076b5d3362dac252678d17da8c68f07560be70818cace6590cb1a"),
        ),
        "qwen3-4b": _pin(
            "bc640142c66e1fdd12af0bd68f40445458f3869b",
            ("Qwen3-4B-Q4_K_M.gguf", "7485fe6f11af29433bc51cab58009521f205840f5b4ae3a32fa7f92e8534fdf5"),
        ),
        "qwen3-8b": _pin(
            "7c41481f57cb95916b40956ab2f0b139b296d974",
            ("Qwen3-8B-Q4_K_M.gguf", "d98cdcbd03e17ce47681435b5150e34c1417f50b5c0019dd560e4882c5745785"),
        ),
        "llama-3.2-1b": _pin(
            "067b946cf014b7c697f3654f621d577a3e3afd1c",
            ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83"),
        ),
        "llama-3.2-3b": _pin(
            "5ab33fa94d1d04e903623ae72c95d1696f09f9e8",
            ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", "6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff"),
        ),
        "llama-3.1-8b": _pin(
            "4f0c246f125fc7594238ebe7beb1435a8335f519",
            (
                "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
                "7b064f5842bf9532c91456deda288a1b672397a54fa729aa665952863033557c",
            ),
        ),
        "gemma-3-1b": _pin(
            "f9c28bcd85737ffc5aef028638d3341d49869c27",
            ("gemma-3-1b-it-Q4_K_M.gguf", "8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135"),
        ),
        "gemma-3-4b": _pin(
            "d0976223747697cb51e056d85c532013931fe52e",
            ("gemma-3-4b-it-Q4_K_M.gguf", "882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863"),
        ),
    }
)
"""Pins by catalog name."""
