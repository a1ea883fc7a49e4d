"""The record of how important every block is, by one metric, on one calibration set.

A `Score` is what `dtr score` writes and `dtr drop` reads. Blocks are named by their index in the undropped model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import write_json
from dtr.records import read_record


@dataclass(frozen=True)
class BlockScore:
    """score: mean over the calibration samples; standard_error: of that mean; dead: the block cannot influence the actions.

    spans: of a metric that takes blocks side by side, the scores of the 1, 2, ... blocks that begin here (`dtr.dropping.spans`).
    """

    score: float
    standard_error: float
    dead: bool = False
    spans: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Without `spans` where there are none."""
        value = {"score": self.score, "standard_error": self.standard_error, "dead": self.dead}
        return value | ({"spans": list(self.spans)} if self.spans else {})


@dataclass(frozen=True)
class Score:
    """Importance of every block of one policy.

    metric: its name, and of what part where not of whole blocks: `gateprobe`, `gateprobe.mlp`.
    policy, source: name and configuration digest of the policy scored; weights: SHA-256 of its file.
    calibration: names of the data sets, in order; data: their SHA-256; samples: how many frames; seed: how they were chosen.
    blocks: block name -> BlockScore. Lower means: loses less when the block goes.
    precision: "bf16" where the policy was asked in bfloat16.
    """

    metric: str
    policy: str
    source: str
    weights: str
    calibration: tuple[str, ...]
    data: str
    samples: int
    seed: int
    blocks: Mapping[str, BlockScore]
    precision: str | None = None

    def __post_init__(self) -> None:
        bad = [name for name, block in self.blocks.items() if not all(map(math.isfinite, (block.score, *block.spans)))]
        if bad:
            raise BadRecord(f"the {self.metric} score of {', '.join(bad)} is not finite: the policy or its calibration data is broken.")

    def order(self, component: str) -> list[str]:
        """The blocks of a component (all its towers together), least important first: the order in which they go."""
        names = [name for name in self.blocks if name.split(".")[0] == component]
        return least_important(names, {name: block.score for name, block in self.blocks.items()})

    def to_json(self) -> dict[str, Any]:
        """The value of `schemas/score.schema.json`."""
        components = dict.fromkeys(name.split(".")[0] for name in self.blocks)
        return {
            "metric": self.metric,
            "policy": self.policy,
            "source": self.source,
            "weights": self.weights,
            "calibration": list(self.calibration),
            "data": self.data,
            "samples": self.samples,
            "seed": self.seed,
            "blocks": {name: block.to_json() for name, block in self.blocks.items()},
            "order": {component: self.order(component) for component in components},
            **({"precision": self.precision} if self.precision else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """The inverse of `to_json`; `value` has been validated (see `read_score`)."""
        fields = {name: value[name] for name in ("metric", "policy", "source", "weights", "data", "samples", "seed")}
        blocks = {name: BlockScore(**block | {"spans": tuple(block.get("spans", ()))}) for name, block in value["blocks"].items()}
        return cls(**fields, calibration=tuple(value["calibration"]), blocks=blocks, precision=value.get("precision"))


def least_important(names: list[str], scores: Mapping[str, float]) -> list[str]:
    """`names` in the order in which they go: lower score first; of equal scores the deeper block first, then by name.

    Deeper first because equal scores are in practice the exact zeros of dead blocks, which lie at the end of a stack; two
    towers' blocks of equal score and depth go in alphabetical order. The order is total, so a cut never depends on chance.
    """
    return sorted(names, key=lambda name: (scores[name], -block_index(name), name))


def block_index(name: str) -> int:
    """7 for `vision.dino.7`, and for its part `vision.dino.7.mlp`."""
    return int(next(word for word in reversed(name.split(".")) if word.isdigit()))


def read_score(path: str | Path) -> Score:
    """Read a score file. Raises BadRecord when it does not validate."""
    return Score.from_json(read_record(path, "score"))


def write_score(path: str | Path, score: Score) -> None:
    """Write a score file, atomically."""
    write_json(path, score.to_json())
