"""Show how the chat templates in a folder write calls of tools, as exsa_lab finds out.

    python scripts/check_tool_formats.py DIR

DIR holds ``*.jinja`` files, such as vendor/llama.cpp/models/templates in llama-cpp-python's source archive.
"""

from __future__ import annotations

import sys
from pathlib import Path

from exsa_lab.errors import ConfigError
from exsa_lab.prompts.tool_format import tool_format
from exsa_lab.testing import ScriptedModel


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    files = sorted(Path(arguments[0]).glob("*.jinja"))
    for path in files:
        model = ScriptedModel(["a", "."], lambda tokens: [0.5, 0.5], ends=[1], name=path.stem)
        model.chat_template = path.read_text(encoding="utf-8")
        try:
            found = tool_format(model)
        except ConfigError as error:
            print(f"{path.stem}: {error.message}")
        else:
            print(f"{path.stem}: {found.opening!r} NAME {found.middle!r} ARGUMENTS {found.closing!r}")
            print(f"    marker {found.marker!r}, between {found.between!r}")
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
