"""How much memory a device has left, and how much one call of a policy needs at most.

A GPU reports both by itself. On a CPU the process's own size says little (the allocator keeps what was freed), so there the bytes of all
tensors that are alive at a time are counted; what a kernel uses inside is not seen.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MEMINFO = Path("/proc/meminfo")


def free_bytes(device: str) -> int | None:
    """What can still be had of a device's memory; None where the system does not say."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    found = re.search(r"MemAvailable: +(\d+) kB", MEMINFO.read_text(encoding="ascii")) if MEMINFO.exists() else None
    return 1024 * int(found[1]) if found else None


class Alive(TorchDispatchMode):
    """Inside: `most`, the largest number of bytes of tensors that were alive at a time and that the code inside has made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in given and storage._cdata not in self.known:
                self.known[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata)
        self.most = max(self.most, self.now)
        return out

    def gone(self, which: int) -> None:
        """A storage has ended."""
        self.now -= self.known.pop(which, 0)


def call_bytes(work: Callable[[], object]) -> int:
    """The most bytes of tensors that one call of `work` has alive at a time, on a CPU."""
    with Alive() as alive:
        work()
    return alive.most
