"""What a training run sees and says, whatever it runs on: its samples, losses, curve, and when it saves and stops.

`Training` (train.py) runs on CPU processes, to the same bits however many; `ShardedTraining` (sharded.py) on GPUs, one process each.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from dtr.data.dataset import Dataset
from dtr.errors import BadConfig, Interrupted
from dtr.policies.base import Batch, Policy
from dtr.policies.processor import Processor
from dtr.progress import Progress
from dtr.provenance import digest, write_text
from dtr.recovery.batches import Batches, Order, Rows
from dtr.recovery.interruption import Interruption
from dtr.recovery.recipe import Recipe
from dtr.recovery.state import Standing

Curve = list[dict[str, float]]


class Course(ABC):
    """`policy` learns from `data`, normalised by `processor`. A class that runs it sets `state` and `curve_path`."""

    state: Standing
    curve_path: Path
    leads = True
    """Whether this process is the one that reports."""

    def __init__(self, policy: Policy, processor: Processor, data: Dataset, recipe: Recipe, seed: int, save_every_s: float) -> None:
        if recipe.draws is not None and not policy.draws_noise:
            raise BadConfig(f"recipe: draws are of noise, and the loss of {policy.name} has none, got {recipe.draws}: leave draws out.")
        self.policy, self.recipe, self.seed, self.save_every_s = policy, recipe, seed, save_every_s
        policy.draws, self.loss = recipe.draws or 1, cast("Callable[[Batch], Tensor]", policy.losses)
        self.batches = Batches(data, processor)
        rows, self.held_out = data.hold_out(recipe.val_fraction, seed)
        self.order = Order(rows, recipe.batch, seed)
        self.piece = recipe.batch
        """Samples of one forward pass of the validation."""
        self.facts = [policy.name, policy.config.to_dict(), processor.to_dict(), data.sha256, recipe.to_dict(), seed]
        self.interruption = Interruption()

    @abstractmethod
    def advance(self) -> tuple[bool, bool]:
        """One step; whether to stop after it, and whether its state must be saved in any case."""

    @abstractmethod
    def save(self) -> None:
        """Write the state, whole or not at all."""

    def named(self, weights: str) -> str:
        """The digest of everything that the result depends on; `weights`: the hash of those before the first step."""
        policy, config, *others = self.facts
        return digest([policy, config, weights, *others])

    def losses(self, rows: Rows) -> Tensor:
        """(B,) loss of each of the samples `rows`, in the recipe's precision."""
        device = self.policy.device
        batch = self.batches.batch(rows, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.loss(batch)

    def loop(self) -> None:
        """The steps that are left."""
        state, last = self.state, self.recipe.steps
        with Progress("train", last, "step", done=state.step, shown=self.leads) as progress:
            while state.step < last:
                stop, due = self.advance()
                if state.step % self.recipe.report_every == 0 or state.step == last:
                    self.report()
                progress.update(1, loss=self.last_loss, lr=self.recipe.rate(state.step - 1))
                if stop or due or state.step == last:
                    self.save()
                if stop and state.step < last:
                    raise Interrupted(f"training stopped after step {state.step} of {last}: the same command goes on.")

    def count(self, loss: float) -> None:
        """A step is done, `loss` was its loss."""
        self.last_loss = loss
        self.state.step += 1
        self.state.loss_sum += loss

    def report(self) -> None:
        """A point of the curve: mean training loss since the last one, and the loss on the held-out episodes if there are any."""
        state = self.state
        since = state.step - (int(state.curve[-1]["step"]) if state.curve else 0)
        point = {"step": state.step, "lr": self.recipe.rate(state.step - 1), "loss": state.loss_sum / since}
        if len(self.held_out):
            point["val_loss"] = self.validate(self.held_out)
        state.curve.append(point)
        state.loss_sum = 0.0
        if self.leads:
            write_text(self.curve_path, curve_text(state.curve))

    @torch.no_grad()
    def validate(self, rows: Rows, most: int = 512) -> float:
        """Mean loss on at most `most` of the held-out `rows`, evenly spaced."""
        rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
        torch.manual_seed(self.seed)
        parts = [rows[i : i + self.piece] for i in range(0, len(rows), self.piece)]
        return sum(self.losses(part).sum().item() for part in parts) / len(rows)

    def probe(self) -> Batch:
        """The first batch: something to compare two forms of the policy on."""
        return self.batches.batch(self.order.draw(0), self.policy.device)

    def forget(self) -> None:
        """Delete the state, once the result is written: a later version of the stage must train anew, not take this one's weights."""
        self.curve_path.unlink(missing_ok=True)


def curve_text(curve: Curve) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(point, sort_keys=True) + "\n" for point in curve)


def diverged(step: int, norm: float, recipe: Recipe) -> BadConfig:
    """The error for a gradient that is no number any more."""
    return BadConfig(f"training diverged: the gradient of step {step} is {norm}: lower lr (now {recipe.lr:g}) or clip harder.")


def noise_seed(*of: int) -> int:
    """A seed for losses that draw noise, from (seed, step, shard)."""
    return int(np.random.SeedSequence(of).generate_state(1)[0])
