"""Several processes that train one draft, one for each GPU, as ``torchrun`` starts them.

Each writes text of its own and learns from it; after every step their gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Crew:
    """This process among ``size``, numbered from 0. Alone, nothing is sent anywhere."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> Crew:
        """Join the processes torchrun started; without it, this one is alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(dist.get_rank(), size)

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor) / self.size)

    def by_first(self, make: Callable[[], _Made]) -> _Made:
        """Return, in every process, what the first one makes."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(box)
        made: _Made = box[0]
        return made
