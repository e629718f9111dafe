# ruff: noqa: E501
"""Random templates out to do harm: what chat templates may use, with the largest values, nested and repeated.

    python -m tests.prompts.template_fuzz --seconds 60 [--seed N]

Each is rendered in this process with its memory traced; the worst ones are told at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
import tracemalloc

from exsa_lab.errors import ConfigError, InvalidModel
from exsa_lab.prompts.filters import FILTERS, TESTS
from exsa_lab.prompts.operations import METHODS
from exsa_lab.prompts.template import ChatTemplate

_SEEDS = ("n.x", "'a'", "'a' * 90000", "[1] * 9000", "range(99999)", "messages", "9 ** 900", "1.5", "('b', 'a')", "{'k': n.x}",
          "'%s' * 900", "'{}' * 900", "none", "missing", "-7", "true", "'\\n' * 9000", "loop", "n", "m")  # fmt: skip
_ARGUMENTS = ("'a'", "''", "' '", "9 ** 99", "90000000", "-1", "n.x", "'k'", "'a' * 90000", "'upper'", "['a'] * 900", "0.5",
              "'%9d'", "none", "('x' * 9000, ':')")  # fmt: skip
_OPERATORS = (" + ", " * ", " ** ", " % ", " ~ ", " // ", " / ", " - ", " and ", " or ", " in ", " == ", " < ")


def expression(source: random.Random, depth: int = 4) -> str:
    """Return a random expression."""
    if depth == 0 or source.random() < 0.15:
        return source.choice(_SEEDS)
    inner = expression(source, depth - 1)
    arguments = ", ".join(source.choice(_ARGUMENTS) for _ in range(source.randrange(3)))
    kind = source.randrange(7)
    if kind == 0:
        return f"({inner})|{source.choice(list(FILTERS))}({arguments})"
    if kind == 1:
        methods = [name for methods in METHODS.values() for name in methods]
        return f"({inner}).{source.choice(methods)}({arguments})"
    if kind == 2:
        return f"({inner}{source.choice(_OPERATORS)}{expression(source, depth - 1)})"
    if kind == 3:
        return source.choice(["[{0}, {0}]", "({0}, {0})", "{{'k': {0}, 'l': {0}}}"]).format(inner)
    if kind == 4:
        return f"({inner})[{source.choice(['0', '-1', ':', '::-1', '1:', repr('k')])}]"
    if kind == 5:
        return f"({inner} is {source.choice([name for name in TESTS if name.isalpha()])})"
    return source.choice(["{0}|tojson", "{0}|string|length", "m({0})", "dict(a={0})", "({0} if n.x else {0})"]).format(
        inner
    )


def hostile_template(source: random.Random) -> str:
    """Return a random template that repeats what it does."""
    setting = f"{{% set n.x = {expression(source)} %}}"
    body = source.choice([setting, f"{{{{ {expression(source)} }}}}", setting + "{{ n.x }}"])
    loops = source.randrange(3)
    macro = f"{{% macro m(a) %}}{{{{ {source.choice(['a', 'm(a)', 'a ~ a', '[a, a]'])} }}}}{{% endmacro %}}"
    prelude = "{% set n = namespace(x='a') %}" + macro
    return prelude + "{% for i in range(90000) %}" * loops + body + "{% endfor %}" * loops + "{{ n.x }}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Render random hostile templates.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end, seed, worst_s, worst_bytes = time.monotonic() + options.seconds, options.seed, (0.0, ""), (0, "")
    while time.monotonic() < end:
        template = hostile_template(random.Random(seed))
        seed += 1
        tracemalloc.start()
        begin = time.process_time()
        with contextlib.suppress(InvalidModel, ConfigError):
            ChatTemplate(template).render({"messages": [{"role": "user", "content": "Hi"}]})
        worst_s = max(worst_s, (time.process_time() - begin, template))
        worst_bytes = max(worst_bytes, (tracemalloc.get_traced_memory()[1], template))
        tracemalloc.stop()
    print(f"{seed - options.seed:,} templates; slowest {worst_s[0]:.2f} s of CPU (traced): {worst_s[1]}")
    print(f"most memory {worst_bytes[0] / 2**20:.0f} MiB: {worst_bytes[1]}")


if __name__ == "__main__":
    main()
