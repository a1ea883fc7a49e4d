"""What an interrupted training on several devices goes on from: a folder, in it one folder for the last saved step.

    sharded-<name>/step-000001200/    every process's part of theta, m, v, mean (torch.distributed.checkpoint), standing.json

It is written under another name and renamed when all parts are on the disk; the one before is deleted after that. So whenever the run is
killed, what bears a step's name is whole. Parts are read by tensor and place, not by process: another number of devices may go on.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from dtr.errors import BadCheckpoint, DiskFull
from dtr.provenance import write_text
from dtr.recovery.fleet import Fleet
from dtr.recovery.state import Standing

Vectors = Mapping[str, Tensor]
"""By the weight's name; each process holds a part of each (a DTensor)."""


@dataclass
class ShardedState(Standing):
    """The weights `theta`, first and second moments `m`, `v`, and with an EMA `mean`, float32."""

    theta: Vectors
    m: Vectors
    v: Vectors
    mean: Vectors | None

    def tensors(self) -> dict[str, Tensor]:
        """Everything under one name."""
        groups = {"theta": self.theta, "m": self.m, "v": self.v, "mean": self.mean or {}}
        return {f"{group}/{name}": tensor for group, vectors in groups.items() for name, tensor in vectors.items()}

    def save(self, folder: Path, fleet: Fleet) -> None:
        """Write to `folder`, all processes at once. DiskFull leaves the previous state as it was."""
        half, whole = folder / "half", folder / f"step-{self.step:09d}"
        if fleet.leads:
            shutil.rmtree(half, ignore_errors=True)
        fleet.meet()
        try:
            save(self.tensors(), checkpoint_id=half)
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values()]
            if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in causes):
                raise DiskFull(f"no room on the disk for {whole}: free some space there and run the same command again.") from error
            raise
        if fleet.leads:
            write_text(half / "standing.json", self.to_json())
            before = steps(folder)
            half.rename(whole)
            for old in before:
                shutil.rmtree(old)
        fleet.meet()

    def restore(self, folder: Path) -> bool:
        """Take over the state in `folder`, all processes at once; False when there is none. BadCheckpoint when it is damaged."""
        found = steps(folder)
        if not found:
            return False
        try:
            load(self.tensors(), checkpoint_id=found[-1])
            self.stand(json.loads((found[-1] / "standing.json").read_text()))
        except (CheckpointException, OSError, KeyError, ValueError) as error:
            raise BadCheckpoint(f"the training state {found[-1]} is damaged ({error}): delete it, training then starts afresh.") from error
        return True

    @staticmethod
    def delete(folder: Path) -> None:
        """Forget every step."""
        shutil.rmtree(folder, ignore_errors=True)


def steps(folder: Path) -> list[Path]:
    """The saved steps, the last one at the end."""
    return sorted(folder.glob("step-*"))
