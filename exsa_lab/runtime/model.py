"""A llama.cpp model: weights, vocabulary and chat template."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, InvalidModel, ModelLoadError, OutOfMemory, printable
from exsa_lab.plain import legible
from exsa_lab.runtime.allocator import return_freed
from exsa_lab.runtime.context import LlamaContext
from exsa_lab.runtime.library import captured_log, llama, reason
from exsa_lab.runtime.protocol import NAME_KEY, ProgressCallback, SpecialToken, TokenRules
from exsa_lab.runtime.steady import SIZES


class LlamaModel:
    """See `exsa_lab.runtime.protocol.Model`.

    Raises ModelLoadError when llama.cpp refuses the file, KeyboardInterrupt when ``progress`` returned False.
    """

    def __init__(self, path: Path, config: EngineConfig, *, progress: ProgressCallback | None = None) -> None:
        self._lib = llama()
        self.path = path
        self._gpu_layers = config.n_gpu_layers
        self._pointer = self._load(path, config, progress or (lambda _: True))
        self.name = printable(self._metadata(NAME_KEY) or path.stem)
        self._vocab = self._lib.llama_model_get_vocab(self._pointer)
        self.vocab_size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.n_ctx_train: int = self._lib.llama_model_n_ctx_train(self._pointer)
        self.size_bytes: int = self._lib.llama_model_size(self._pointer)
        self.num_parameters: int = self._lib.llama_model_n_params(self._pointer)
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    def _load(self, path: Path, config: EngineConfig, progress: ProgressCallback) -> Any:
        stopped = False

        def on_progress(fraction: float, _data: object) -> bool:
            nonlocal stopped
            stopped = stopped or not progress(fraction)
            return not stopped

        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = config.n_gpu_layers
        callback = self._lib.llama_progress_callback(on_progress)
        params.progress_callback = callback
        with captured_log() as lines:
            pointer = self._lib.llama_model_load_from_file(os.fsencode(path), params)
        if stopped:
            if pointer:
                self._lib.llama_model_free(pointer)
            raise KeyboardInterrupt
        if not pointer:
            why = reason(lines)
            if any("alloc" in line.text for line in lines if line.is_error):
                raise OutOfMemory(
                    f"{path.name} does not fit: {why}.", hint="Offload fewer layers, or choose a smaller model."
                )
            raise ModelLoadError(
                f"llama.cpp could not load {path.name}: {why}.",
                hint="The file may be damaged or need a newer llama-cpp-python.",
            )
        if kind := self._other_kind(pointer):
            self._lib.llama_model_free(pointer)
            raise ModelLoadError(f"{path.name} is {kind}.", hint="exsa_lab runs models that generate token by token.")
        return pointer

    def _other_kind(self, pointer: Any) -> str:
        """Name what llama.cpp loads but cannot decode token by token; decoding it would end the process."""
        if self._lib.llama_model_has_encoder(pointer):
            return "an encoder-decoder model" if self._lib.llama_model_has_decoder(pointer) else "a text encoder"
        return "a diffusion model" if self._lib.llama_model_is_diffusion(pointer) else ""

    def _metadata(self, key: str) -> str:
        """Return a metadata value as text, cut off where it is long; "" where the file has none."""
        buffer = ctypes.create_string_buffer(256)
        found = self._lib.llama_model_meta_val_str(self._pointer, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if found > 0 else ""

    def open_context(
        self, config: EngineConfig, n_threads: int, *, slots: int = 0, padded: bool = True
    ) -> LlamaContext:
        """Create a context; raises OutOfMemory when it does not fit. On a GPU small batches are ``padded``."""
        config = replace(config, n_gpu_layers=self._gpu_layers)
        smallest = 0
        # Padding is taken back from the cache, and only a GPU gains by it.
        if padded and config.n_gpu_layers and not self.is_recurrent:
            smallest = SIZES[-1] if config.reproducible else SIZES[0]
        return LlamaContext(self._pointer, self.vocab_size, config, n_threads, slots=slots, smallest_batch=smallest)

    # Vocabulary

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raw = text.encode("utf-8", "replace")
        capacity = len(raw) + 2
        for _ in range(2):
            tokens = (self._lib.llama_token * capacity)()
            count = self._lib.llama_tokenize(self._vocab, raw, len(raw), tokens, capacity, add_special, parse_special)
            if count >= 0:
                return list(tokens[:count])
            capacity = -count
        raise ConfigError("the prompt could not be tokenized.", hint="Check it for unusual characters.")

    def token_bytes(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._piece(token, special=False)
        return piece

    def token_label(self, token: int) -> str:
        """The token's text for display, control tokens by their name."""
        return legible(self._piece(token, special=True))

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            count = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count
        return b""

    def is_end(self, token: int) -> bool:
        is_end = self._ends.get(token)
        if is_end is None:
            is_end = self._ends[token] = bool(self._lib.llama_vocab_is_eog(self._vocab, token))
        return is_end

    @cached_property
    def chat_template(self) -> str | None:
        """The source of the model's own chat template; raises InvalidModel when it is not text."""
        raw: bytes | None = self._lib.llama_model_chat_template(self._pointer, None)
        try:
            return raw.decode("utf-8") if raw else None
        except UnicodeDecodeError as cause:
            raise InvalidModel(
                f"the chat template of {self.name} is not valid text.", hint="Use chat=False."
            ) from cause

    @cached_property
    def token_rules(self) -> TokenRules:
        """See `exsa_lab.runtime.protocol.TokenRules`; read once, which takes 0.1 s for a large vocabulary."""
        lib, vocab = self._lib, self._vocab
        bos, eos = lib.llama_vocab_bos(vocab), lib.llama_vocab_eos(vocab)
        specials = tuple(self._special_tokens())
        # llama.cpp makes every token that ends a text a control token when it loads the file, whatever the file says.
        found = {token.id for token in specials} | {token for token in (eos, lib.llama_vocab_eot(vocab)) if token >= 0}
        return TokenRules(
            bos=bos if bos >= 0 else None,
            eos=eos if eos >= 0 else None,
            adds_bos=bool(lib.llama_vocab_get_add_bos(vocab)),
            specials=specials,
            ends=tuple(sorted(token for token in found if lib.llama_vocab_is_eog(vocab, token))),
            suppressed=self._suppressed_tokens(),
        )

    def _special_tokens(self) -> Iterator[SpecialToken]:
        lib = self._lib
        control = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN
        for token in range(self.vocab_size):
            kind = lib.llama_vocab_get_attr(self._vocab, token)
            if kind & (control | lib.LLAMA_TOKEN_ATTR_USER_DEFINED):
                yield SpecialToken(
                    id=token,
                    text=lib.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"),
                    is_control=bool(kind & control),
                    strips_left=bool(kind & lib.LLAMA_TOKEN_ATTR_LSTRIP),
                    strips_right=bool(kind & lib.LLAMA_TOKEN_ATTR_RSTRIP),
                )

    def _suppressed_tokens(self) -> tuple[int, ...]:
        count = ctypes.c_int32()
        tokens = self._lib.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(count))
        return tuple(tokens[: count.value]) if tokens else ()

    @property
    def is_recurrent(self) -> bool:
        lib = self._lib
        return bool(lib.llama_model_is_recurrent(self._pointer) or lib.llama_model_is_hybrid(self._pointer))

    def close(self) -> None:
        if self._pointer:
            self._lib.llama_model_free(self._pointer)
            self._pointer = None
            return_freed()
