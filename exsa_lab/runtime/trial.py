"""Loads a model and decodes a few tokens, for `exsa_lab.models.trial`, which runs this in a child process.

python -m exsa_lab.runtime.trial PATH
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ExsaError


def main(path: Path) -> int:
    """Exit code 0 when all went well, 1 with the reason as the last line on stderr; a crash is a signal."""
    # Without this llama.cpp starts a debugger on itself to print where it crashed, which takes seconds.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    from exsa_lab.runtime.model import LlamaModel

    config = EngineConfig(n_ctx=256, n_seq_max=1, n_batch=32, n_ubatch=32)
    try:
        model = LlamaModel(path, config)
        context = model.open_context(config, n_threads=1)
        tokens = model.tokenize("Hello, world!", add_special=True, parse_special=True)[:16] or [0]
        batch = context.new_batch()
        batch.add(tokens, 0, 0, 1)
        context.decode(batch)
        for token in tokens:
            model.token_label(token)
        context.close()
        model.close()
    except ExsaError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
