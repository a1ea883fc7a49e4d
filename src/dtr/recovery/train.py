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
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from dtr.data.dataset import Dataset
from dtr.policies.base import Policy
from dtr.policies.processor import Processor
from dtr.provenance import sha256_bytes
from dtr.recovery.adamw import adamw, average, clip
from dtr.recovery.course import Course, Curve, diverged, noise_seed
from dtr.recovery.flat import Flat
from dtr.recovery.recipe import Recipe
from dtr.recovery.state import State
from dtr.recovery.team import Team


class Training(Course):
    """One run: `policy` is trained in place on `data`, normalised by `processor`.

    It goes on from the state in `folder`, if there is one of this very run.
    """

    state: State

    def __init__(
        self, policy: Policy, processor: Processor, data: Dataset, recipe: Recipe, seed: int, folder: Path, save_every_s: float
    ) -> None:
        super().__init__(policy, processor, data, recipe, seed, save_every_s)
        self.flat = Flat(policy)
        theta = self.flat.theta
        self.state = State(theta, torch.zeros_like(theta), torch.zeros_like(theta), theta.clone() if recipe.ema else None)
        frozen = [p for p in policy.parameters() if not p.requires_grad]
        weights = sha256_bytes(b"".join(w.detach().cpu().numpy().tobytes() for w in (theta, *frozen)))
        self.name = self.named(weights)
        self.path, self.curve_path = folder / f"state-{self.name}.safetensors", folder / f"losses-{self.name}.jsonl"
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

    def forget(self) -> None:
        """Delete the state, and the curve beside it."""
        self.path.unlink(missing_ok=True)
        super().forget()

    def steps(self, team: Team) -> None:
        """The loop, in every process of the team; only the leader saves, reports and raises."""
        if team.rank:
            while self.state.step < self.recipe.steps and not self.step(team):
                pass
            return
        self.team, self.saved = team, time.monotonic()
        self.loop()

    def advance(self) -> tuple[bool, bool]:
        """One step of the team."""
        stop = self.step(self.team, self.interruption.asked)
        return stop, time.monotonic() - self.saved > self.save_every_s

    def save(self) -> None:
        """Write the state in one step."""
        self.state.save(self.path)
        self.saved = time.monotonic()

    def step(self, team: Team, stop: bool = False) -> bool:
        """One step of the formula above; returns whether the leader wants to stop."""
        state, recipe = self.state, self.recipe
        rows = self.order.draw(state.step).reshape(recipe.shards, -1)
        for shard in team.mine:
            torch.manual_seed(noise_seed(self.seed, state.step, shard))
            loss = self.losses(rows[shard]).sum() / recipe.batch
            team.put(shard, self.flat.backward(loss), loss.item())
        g, loss_, stop = team.total(stop)
        g = g.to(state.theta.device)
        norm = clip(g, recipe.clip)
        if not math.isfinite(norm):
            raise diverged(state.step, norm, recipe)
        adamw(state.theta, g, state.m, state.v, self.flat.decays, state.step + 1, recipe.rate(state.step), recipe)
        if state.mean is not None and recipe.ema:
            average(state.mean, state.theta, recipe.ema)
        self.count(loss_)
        return stop


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread a process: sums then have one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
