"""Recovery: fine-tune every remaining weight of a policy with its own action loss.

    for k = 0 .. steps-1:
        x         = batch(seed, k)
        g         = sum over shards s, in order, of  grad_theta  sum_{i in s} L(theta; x_i) / B
        theta     = AdamW(theta, clip(g), lr(k))                      formulas in adamw.py, lr(k) in recipe.py

Everything random in step k is drawn from (seed, k, shard) and everything summed is summed in one order. So the result depends on
the policy, the data, the recipe and the seed alone: not on the number of processes, nor on how often the run was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dtr.data.dataset import Dataset
from dtr.errors import BadConfig, Interrupted
from dtr.policies.base import Batch, Policy
from dtr.policies.processor import Processor
from dtr.progress import Progress
from dtr.provenance import digest, sha256_bytes, write_text
from dtr.recovery.adamw import adamw, average, clip
from dtr.recovery.batches import Batches, Order, Rows
from dtr.recovery.flat import Flat
from dtr.recovery.interruption import Interruption
from dtr.recovery.recipe import Recipe
from dtr.recovery.state import State
from dtr.recovery.team import Team

Curve = list[dict[str, float]]


class Training:
    """One run: `policy` is trained in place on `data`, normalised by `processor`.

    It goes on from the state in `folder`, if there is one of this very run.
    """

    def __init__(
        self, policy: Policy, processor: Processor, data: Dataset, recipe: Recipe, seed: int, folder: Path, save_every_s: float
    ) -> None:
        if recipe.draws is not None and not policy.draws_noise:
            raise BadConfig(f"recipe: draws are of noise, and the loss of {policy.name} has none, got {recipe.draws}: leave draws out.")
        self.policy, self.recipe, self.seed, self.save_every_s = policy, recipe, seed, save_every_s
        policy.draws = recipe.draws or 1
        self.batches = Batches(data, processor)
        rows, self.held_out = data.hold_out(recipe.val_fraction, seed)
        self.order = Order(rows, recipe.batch, seed)
        self.flat = Flat(policy)
        theta = self.flat.theta
        self.state = State(theta, torch.zeros_like(theta), torch.zeros_like(theta), theta.clone() if recipe.ema else None)
        frozen = [p for p in policy.parameters() if not p.requires_grad]
        weights = sha256_bytes(b"".join(w.detach().cpu().numpy().tobytes() for w in (theta, *frozen)))
        self.name = digest([policy.name, policy.config.to_dict(), weights, processor.to_dict(), data.sha256, recipe.to_dict(), seed])
        self.path, self.curve_path = folder / f"state-{self.name}.safetensors", folder / f"losses-{self.name}.jsonl"
        self.interruption = Interruption()
        self.state.restore(self.path)

    def run(self, processes: int) -> Curve:
        """All steps that are left; afterwards the policy holds the result. Returns the curve [{"step", "lr", "loss", "val_loss"}].

        Raises Interrupted (state saved), DiskFull (the previous state kept), BadConfig when the loss is no number any more.
        """
        state, recipe = self.state, self.recipe
        self.policy.train()
        if state.step < recipe.steps:
            with one_thread(), self.interruption, Team(processes, recipe.shards, len(state.theta), self.steps) as team:
                self.steps(team)
        if state.mean is not None:
            state.theta.copy_(state.mean)
        self.flat.release()
        self.policy.eval()
        return state.curve

    def probe(self) -> Batch:
        """The first batch: something to compare two forms of the policy on."""
        return self.batches.batch(self.order.draw(0), self.policy.device)

    def forget(self) -> None:
        """Delete the state, once the result is written: a later version of the stage must train anew, not take this one's weights."""
        self.path.unlink(missing_ok=True)
        self.curve_path.unlink(missing_ok=True)

    def steps(self, team: Team) -> None:
        """The loop, in every process of the team; only the leader saves, reports and raises."""
        if team.rank:
            while self.state.step < self.recipe.steps and not self.step(team):
                pass
            return
        saved, state = time.monotonic(), self.state
        with Progress("train", self.recipe.steps, "step", done=state.step) as progress:
            while state.step < self.recipe.steps:
                stop = self.step(team, self.interruption.asked)
                if state.step % self.recipe.report_every == 0 or state.step == self.recipe.steps:
                    self.report()
                progress.update(1, loss=self.last_loss, lr=self.recipe.rate(state.step - 1))
                if stop or state.step == self.recipe.steps or time.monotonic() - saved > self.save_every_s:
                    state.save(self.path)
                    saved = time.monotonic()
                if stop and state.step < self.recipe.steps:
                    raise Interrupted(f"training stopped after step {state.step} of {self.recipe.steps}: the same command goes on.")

    def step(self, team: Team, stop: bool = False) -> bool:
        """One step of the formula above; returns whether the leader wants to stop."""
        state, recipe = self.state, self.recipe
        rows = self.order.draw(state.step).reshape(recipe.shards, -1)
        for shard in team.mine:
            torch.manual_seed(noise_seed(self.seed, state.step, shard))
            losses = self.policy.losses(self.batches.batch(rows[shard], self.policy.device))
            loss = losses.sum() / recipe.batch
            team.put(shard, self.flat.backward(loss), loss.item())
        g, self.last_loss, stop = team.total(stop)
        g = g.to(state.theta.device)
        norm = clip(g, recipe.clip)
        if not math.isfinite(norm):
            raise BadConfig(f"training diverged: the gradient of step {state.step} is {norm}: lower lr (now {recipe.lr:g}) or clip harder.")
        adamw(state.theta, g, state.m, state.v, self.flat.decays, state.step + 1, recipe.rate(state.step), recipe)
        if state.mean is not None and recipe.ema:
            average(state.mean, state.theta, recipe.ema)
        state.step += 1
        state.loss_sum += self.last_loss
        return stop

    def report(self) -> None:
        """A point of the curve: mean training loss since the last one, and the loss on the held-out episodes if there are any."""
        state = self.state
        since = state.step - (int(state.curve[-1]["step"]) if state.curve else 0)
        point = {"step": state.step, "lr": self.recipe.rate(state.step - 1), "loss": state.loss_sum / since}
        if len(self.held_out):
            point["val_loss"] = self.validate(self.held_out)
        state.curve.append(point)
        state.loss_sum = 0.0
        write_text(self.curve_path, curve_text(state.curve))

    @torch.no_grad()
    def validate(self, rows: Rows, most: int = 512) -> float:
        """Mean loss on at most `most` of the held-out `rows`, evenly spaced."""
        rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
        torch.manual_seed(self.seed)
        parts = [rows[i : i + self.recipe.batch] for i in range(0, len(rows), self.recipe.batch)]
        return sum(self.policy.losses(self.batches.batch(p, self.policy.device)).sum().item() for p in parts) / len(rows)


def curve_text(curve: Curve) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(point, sort_keys=True) + "\n" for point in curve)


def noise_seed(*of: int) -> int:
    """A seed for losses that draw noise, from (seed, step, shard)."""
    return int(np.random.SeedSequence(of).generate_state(1)[0])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread a process: sums then have one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
