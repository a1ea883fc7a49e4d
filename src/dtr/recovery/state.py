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


@dataclass(kw_only=True)
class Standing:
    """After `step` finished steps; `loss_sum` of those since the last point of the `curve`, a list of {"step", "lr", "loss", ...}."""

    step: int = 0
    loss_sum: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def to_json(self) -> str:
        """As text; Python's JSON keeps every bit of a float."""
        return json.dumps({"step": self.step, "loss_sum": self.loss_sum, "curve": self.curve})

    def stand(self, facts: dict[str, Any]) -> None:
        """Take over what `to_json` wrote."""
        self.step, self.loss_sum, self.curve = facts["step"], facts["loss_sum"], facts["curve"]


@dataclass
class State(Standing):
    """The weights `theta`, first and second moments `m`, `v`, and with an EMA `mean`, all (P,) float32."""

    theta: Tensor
    m: Tensor
    v: Tensor
    mean: Tensor | None

    def vectors(self) -> dict[str, Tensor]:
        """The vectors by name."""
        found = {"theta": self.theta, "m": self.m, "v": self.v, "mean": self.mean}
        return {name: vector for name, vector in found.items() if vector is not None}

    def save(self, path: Path) -> None:
        """Write to `path` in one step. DiskFull leaves the previous state as it was."""
        with atomic_path(path) as temporary:
            write_tensors(temporary, self.vectors(), {"state": self.to_json()})

    def restore(self, path: Path) -> bool:
        """Take over the state in `path`; False when there is none. BadCheckpoint when the file is damaged."""
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                for name, vector in self.vectors().items():
                    vector.copy_(file.get_tensor(name))
                self.stand(json.loads(file.metadata()["state"]))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise BadCheckpoint(f"the training state {path} is damaged ({error}): delete it, training then starts afresh.") from error
        return True
