"""How recovery trains: every number that the recovered weights depend on, besides the policy, the data and the seed.

    lr(k) = lr * min(1, (k+1) / warmup) * (f + (1 - f) d(x)),      f = lr_final,  x = (k/steps - decay_from) / (1 - decay_from) in [0, 1]

    d(x) = 1   "constant",      1 - x   "linear",      (1 + cos(pi x)) / 2   "cosine"

for step k = 0 .. steps-1: warm-up, then constant until the fraction `decay_from` of the steps, then down towards lr_final * lr.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dtr.errors import BadConfig, unknown
from dtr.policies.settings import PRECISIONS, parse
from dtr.records import check_given, read_given

DECAYS = ("constant", "cosine", "linear")
STATISTICS = ("data", "policy")
STORED = ("float32", "bfloat16")
LATER = ("lora", "matched_batch", "draws", "precision", "stored", "train_only", "scratch")
"""Fields that recipes had not from the beginning."""


@dataclass(frozen=True)
class Lora:
    """`rank` r, `alpha`: the correction counts alpha / r."""

    rank: int
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise BadConfig(f"recipe: lora expects rank >= 1 and alpha > 0, got {asdict(self)}: correct the recipe.")


@dataclass(frozen=True)
class Recipe:
    """`batch` samples a step, summed as `shards` micro-batches in a fixed order (so 1 or `shards` processes give the same weights); a GPU
    computes one of them at a time.

    `lr`, `beta1`, `beta2`, `weight_decay` (matrices only) as in AdamW; `clip` bounds the norm of the gradient; `ema` is the decay
    of an exponential moving average of the weights, which is then what is kept (None: the last weights are kept).
    `statistics` "data" normalises by the quantiles of the training data and stores them with the policy, as OpenVLA-OFT does;
    "policy" keeps those that the policy came with. `val_fraction` of the episodes is held out; the curve has a point every
    `report_every` steps. `lora` trains low-rank corrections instead of all weights (lora.py). With
    `matched_batch`, `steps` of that many samples are what recovery may cost, measured on the undropped policy (matched.py).
    `draws` of noise and time a sample, for a policy that is trained by flow matching: its first stream is run once for all of them, so the
    gradient's noise shrinks at little cost (None: one, as upstream trains). `precision` "bf16" computes the losses under bfloat16 autocast
    (matrix products, convolutions, attention); weights, gradients, moments, average, norms and sums stay float32 (None: all float32).
    `stored`: type of the weights in the file that is written at the end, "bfloat16" as published checkpoints have it, half the size
    (None: as they were trained, float32).
    What a drop is compared with (baselines.py): `train_only` patterns of parameter names (`action.*`), all else stays frozen; `scratch`
    draws all weights anew from the seed, so that nothing of the pretrained ones is used (None: neither).
    """

    steps: int
    batch: int
    lr: float
    warmup_steps: int = 0
    decay: str = "constant"
    decay_from: float = 0.0
    lr_final: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float | None = None
    statistics: str = "data"
    val_fraction: float = 0.0
    report_every: int = 100
    shards: int = 2
    lora: Lora | None = None
    matched_batch: int | None = None
    draws: int | None = None
    precision: str | None = None
    stored: str | None = None
    train_only: tuple[str, ...] | None = None
    scratch: bool | None = None

    def __post_init__(self) -> None:
        for name, known in (("decay", DECAYS), ("statistics", STATISTICS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        for what, chosen, choices in (("precision", self.precision, [*PRECISIONS]), ("type of stored weights", self.stored, [*STORED])):
            if chosen is not None and chosen not in choices:
                raise unknown(what, chosen, choices)
        for holds, expected in (
            (self.steps >= 1 and self.report_every >= 1, "steps and report_every must be at least 1"),
            (self.warmup_steps >= 0, "warmup_steps must not be negative"),
            (self.shards >= 1 and self.batch >= self.shards and self.batch % self.shards == 0, "batch must be a multiple of shards"),
            (self.lr > 0 and self.clip > 0, "lr and clip must be positive"),
            (0 <= self.decay_from < 1 and 0 <= self.lr_final <= 1, "decay_from must lie in [0, 1) and lr_final in [0, 1]"),
            (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.weight_decay >= 0, "beta1, beta2 must lie in [0, 1), weight_decay >= 0"),
            (self.ema is None or 0 < self.ema < 1, "ema must lie in (0, 1) or be null"),
            (0 <= self.val_fraction < 1, "val_fraction must lie in [0, 1)"),
            (self.matched_batch is None or self.matched_batch >= 1, "matched_batch must be at least 1 or be null"),
            (self.draws is None or self.draws >= 1, "draws must be at least 1 or be null"),
            (self.scratch is not False, "scratch must be true or be left out"),
            (self.train_only is None or len(self.train_only) > 0, "train_only must name at least one pattern or be left out"),
            ([self.lora, self.train_only, self.scratch].count(None) >= 2, "lora, train_only and scratch exclude each other"),
        ):
            if not holds:
                raise BadConfig(f"recipe: {expected}, got {self.to_dict()}: correct it (schemas/recipe.schema.json describes every field).")

    def rate(self, step: int) -> float:
        """lr(k): the learning rate of step `step`."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        x = min(1.0, max(0.0, (step / self.steps - self.decay_from) / (1 - self.decay_from)))
        left = {"constant": 1.0, "linear": 1 - x, "cosine": (1 + math.cos(math.pi * x)) / 2}[self.decay]
        return self.lr * warm * (self.lr_final + (1 - self.lr_final) * left)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, every default written out; but LATER additions only where they are asked for: older digests stay."""
        return {key: value for key, value in asdict(self).items() if key not in LATER or value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of JSON values; BadConfig or UnknownName says what is wrong."""
        return parse(cls, values, "recipe")


def read_recipe(text: str) -> Recipe:
    """A recipe from the path of a JSON file, or from the JSON text itself."""
    values = read_given(text, "--recipe")
    check_given(values, "recipe", "--recipe")
    return Recipe.from_dict(values)
