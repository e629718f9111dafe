"""What one server takes at most."""

from __future__ import annotations

from dataclasses import dataclass, fields

from exsa_lab.config import settle, whole
from exsa_lab.errors import ConfigError, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one server takes at once, and how long it waits for whoever is slow.

    Example: ``xl.serve(limits=Limits(max_requests=32))``.
    """

    max_requests: int = 128
    """Most texts that are generated or waited for at once, a request of ``n`` counting as so many; then 429."""
    max_connections: int = 256
    """Most open connections; another one is told 429 and closed."""
    max_choices: int = 16
    """Most texts of one request: ``n``, times the prompts of a completion."""
    max_body_bytes: int = 1 << 21
    """Largest body of a request."""
    max_header_bytes: int = 1 << 14
    """Largest head of a request."""
    header_seconds: float = 10.0
    """Longest wait for the whole head of a request, from the connection's start or the head's first byte."""
    body_seconds: float = 10.0
    """Longest wait for the whole body."""
    write_seconds: float = 30.0
    """Longest wait for a client to take what it asked for; then it counts as gone."""
    idle_seconds: int = 30
    """How long a connection stays open between requests."""
    request_seconds: float = 600.0
    """Longest time of a request, waiting included; then the text so far is the reply."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                settle(self, **{field.name: whole(field.name, value, 1, 1 << 30)})
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
                raise ConfigError(f"{field.name} is {shown(value)}.", hint="It must be a number of seconds above 0.")
