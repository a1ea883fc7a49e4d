"""The device that a stage was told to compute on, tried before anything else: a node without a working GPU fails its job at once."""

from __future__ import annotations

import os
import platform

import torch

from dtr.errors import MissingLibrary


def probe(device: str) -> None:
    """Compute one small product on `device`. Raises MissingLibrary, which names the node, where torch has no such device or it fails."""
    try:
        x = torch.ones(64, 64, device=device)
        answer = float((x @ x).sum())
    except (RuntimeError, AssertionError) as error:  # torch: no driver, no GPU, an unknown name; not compiled with CUDA
        raise broken(device, str(error).splitlines()[0]) from error
    if answer != 64.0**3:
        raise broken(device, f"it computed {answer} for {64.0**3}")


def broken(device: str, reason: str) -> MissingLibrary:
    """What is raised about a device that does not work: where that was, why, and what to do."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = f", CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
    return MissingLibrary(
        f"--device {device} does not work on {platform.node()}{seen} ({reason.rstrip('.')}): run on a machine with a GPU that torch can "
        "use, leave this node out (docs/cluster.md), lower --gpus, or leave --device out."
    )
