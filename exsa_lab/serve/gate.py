"""How many texts are generated and waited for at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from exsa_lab.serve.api_errors import ApiError, invalid


class Gate:
    """Counts what is inside, and lets no more in than there is room for. Owned by the server's event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.num_inside = 0

    @contextlib.contextmanager
    def enter(self, num: int) -> Iterator[None]:
        """Hold so many places during the block; raises ApiError where there are not as many."""
        if num > self.most:
            raise invalid(f"{num} texts at once are more than the {self.most} of this server.", "n")
        if self.num_inside + num > self.most:
            raise ApiError(
                429,
                f"{self.num_inside} texts are being generated for this server's clients, and {self.most} may be.",
                type="rate_limit_error",
                code="too_many_requests",
            )
        self.num_inside += num
        try:
            yield
        finally:
            self.num_inside -= num
