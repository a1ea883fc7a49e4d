"""What an interrupted training run goes on from: one file, replaced in one step, so that it is always whole.

The file's name carries the digest of everything the result depends on (weights before, data, recipe, seed): a run never goes on
from the state of another, and a changed recipe destroys nobody's state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dtr.errors import BadCheckpoint
from dtr.policies.file import write_tensors
from dtr.provenance import atomic_path


@dataclass
class State:
    """After `step` finished steps: `theta`, first and second moments `m`, `v`, and with an EMA `mean`, all (P,) float32.

    `loss_sum` of the steps since the last point of the `curve`, a list of {"step", "lr", "loss", ...}.
    """

    theta: Tensor
    m: Tensor
    v: Tensor
    mean: Tensor | None
    step: int = 0
    loss_sum: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def vectors(self) -> dict[str, Tensor]:
        """The vectors by name."""
        found = {"theta": self.theta, "m": self.m, "v": self.v, "mean": self.mean}
        return {name: vector for name, vector in found.items() if vector is not None}

    def save(self, path: Path) -> None:
        """Write to `path` in one step. DiskFull leaves the previous state as it was."""
        # Python's JSON keeps every bit of a float.
        facts = json.dumps({"step": self.step, "loss_sum": self.loss_sum, "curve": self.curve})
        with atomic_path(path) as temporary:
            write_tensors(temporary, self.vectors(), {"state": facts})

    def restore(self, path: Path) -> bool:
        """Take over the state in `path`; False when there is none. BadCheckpoint when the file is damaged."""
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, Any] = json.loads(file.metadata()["state"])
                for name, vector in self.vectors().items():
                    vector.copy_(file.get_tensor(name))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise BadCheckpoint(f"the training state {path} is damaged ({error}): delete it, training then starts afresh.") from error
        self.step, self.loss_sum, self.curve = facts["step"], facts["loss_sum"], facts["curve"]
        return True
