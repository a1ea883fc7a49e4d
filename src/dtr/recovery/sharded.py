"""Recovery on GPUs: every process holds a part of every weight, and the whole of one block at a time (torch's FSDP2).

    rank r of n:    g_r       = sum over its shards s = r, r+n, ... of  n grad  sum_{i in s} L(theta; x_i) / B
    all:            g         = mean over r of g_r,      each rank keeps its part of it
                    theta     = AdamW(theta, clip(g), lr(k))          on its part; formulas in adamw.py

The samples, the shards and the seeds of their noise are those of train.py: a shard is what a device computes at a time, B / shards
samples, and the shards of a step are accumulated, so the batch is the recipe's on any number of devices. Losses agree with those of one
device, and of train.py, to rounding and not to the last bit, because sums have another order.

A rank of n keeps weights, moments and average in float32, 1/n of each (`memory.py`); gradients are handed over after every shard, so
none is ever held whole. The state is a folder a step, written by all and renamed once it is whole; any number of devices goes on from it.
Source: FSDP2, `torch.distributed.fsdp.fully_shard`; Zhao et al., arXiv 2304.11277.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from dtr.data.dataset import Dataset
from dtr.errors import BadConfig
from dtr.policies.base import Batch, Policy
from dtr.policies.file import fill
from dtr.policies.processor import Processor
from dtr.policies.registry import skeleton
from dtr.recovery.adamw import adamw, average
from dtr.recovery.course import Course, Curve, diverged, noise_seed
from dtr.recovery.fleet import Fleet
from dtr.recovery.lora import adapt
from dtr.recovery.memory import GIB, Memory, memory
from dtr.recovery.recipe import Recipe
from dtr.recovery.sharded_state import ShardedState


class ShardedTraining(Course):
    """One run, in every process of `fleet`: `policy`, alike in all of them, is taken apart and trained on `data`.

    It goes on from the state in `folder`, if there is one of this very run. `recompute`: see `Stack`.
    """

    state: ShardedState

    def __init__(
        self,
        policy: Policy,
        processor: Processor,
        data: Dataset,
        recipe: Recipe,
        seed: int,
        folder: Path,
        save_every_s: float,
        fleet: Fleet,
        recompute: bool = False,
    ) -> None:
        super().__init__(policy, processor, data, recipe, seed, save_every_s)
        check_memory(memory(policy, recipe, fleet.size, recompute), fleet)
        self.fleet, self.leads, self.piece = fleet, fleet.leads, recipe.batch // recipe.shards
        name = fleet.leaders(self.named(weights_digest(policy)) if fleet.leads else "")
        self.path, self.curve_path = folder / f"sharded-{name}", folder / f"losses-{name}.jsonl"
        for stack in policy.stacks().values():
            stack.recompute = recompute
        self.loss = shard(policy, fleet)
        theta = {name: p.detach() for name, p in policy.named_parameters() if p.requires_grad}
        m, v = ({name: torch.zeros_like(p) for name, p in theta.items()} for _ in range(2))
        self.state = ShardedState(theta, m, v, {name: p.clone() for name, p in theta.items()} if recipe.ema else None)
        self.state.restore(self.path)
        self.decays = {name: torch.tensor(float(p.dim() >= 2), device=policy.device) for name, p in theta.items()}
        self.saved = time.monotonic()

    def run(self) -> Curve:
        """All steps that are left; afterwards `policy` is whole again and holds the result, in the leader. Returns the curve.

        Raises what `Training.run` does, and BadConfig when a device has too little memory.
        """
        self.policy.train()
        try:
            with self.interruption:
                self.loop()
        except torch.OutOfMemoryError as error:
            raise BadConfig(
                f"a device has too little memory for {self.piece} samples at a time ({error}): raise the recipe's shards, train on more "
                "devices, or pass --recompute."
            ) from error
        if self.state.mean is not None:
            for name, theta in self.state.theta.items():
                theta.copy_(self.state.mean[name])
        self.policy = self.gathered()
        return self.state.curve

    def forget(self) -> None:
        """Delete the state, and the curve beside it."""
        self.state.delete(self.path)
        super().forget()

    def save(self) -> None:
        """Write the state, all processes together."""
        self.state.save(self.path, self.fleet)
        self.saved = time.monotonic()

    def advance(self) -> tuple[bool, bool]:
        """One step of the formula above."""
        state, recipe, n = self.state, self.recipe, self.fleet.size
        rows = self.order.draw(state.step).reshape(recipe.shards, -1)
        self.policy.zero_grad()
        loss = torch.zeros((), device=self.policy.device)
        for s in self.fleet.mine(recipe.shards):
            torch.manual_seed(noise_seed(self.seed, state.step, s))
            part = self.losses(rows[s]).sum() / recipe.batch
            torch.autograd.backward(part * n)
            loss += part.detach()
        g = self.clipped()
        self.update(g)
        wish, due = self.interruption.asked or self.fleet.asked, self.leads and time.monotonic() - self.saved > self.save_every_s
        total, stop, due_ = self.fleet.sum(loss.item(), wish, due)
        self.count(total)
        return bool(stop), bool(due_)

    def clipped(self) -> dict[str, Tensor]:
        """This process's part of g, scaled to a norm of at most the recipe's; zero where the loss does not depend on a weight."""
        weights = {name: p for name, p in self.policy.named_parameters() if p.requires_grad}
        g = {name: local(torch.zeros_like(p) if p.grad is None else p.grad) for name, p in weights.items()}
        norm = math.sqrt(self.fleet.sum(get_total_norm(list(g.values())).item() ** 2)[0])
        if not math.isfinite(norm):
            raise diverged(self.state.step, norm, self.recipe)
        if norm > self.recipe.clip:
            for part in g.values():
                part.mul_(self.recipe.clip / norm)
        return g

    @torch.no_grad()
    def update(self, g: dict[str, Tensor]) -> None:
        """AdamW, and the average, on this process's part of every weight."""
        state, recipe = self.state, self.recipe
        for name, part in g.items():
            theta, m, v = local(state.theta[name]), local(state.m[name]), local(state.v[name])
            adamw(theta, part, m, v, self.decays[name], state.step + 1, recipe.rate(state.step), recipe)
            if state.mean is not None and recipe.ema:
                average(local(state.mean[name]), theta, recipe.ema)

    @torch.no_grad()
    def gathered(self) -> Policy:
        """The policy as it was before it was taken apart, with the weights of now, on the leader's device; without weights elsewhere."""
        whole = skeleton(self.policy.name, self.policy.config)
        if self.recipe.lora is not None:
            adapt(whole, self.recipe.lora, self.seed)
        tensors = {}
        for name, tensor in self.policy.state_dict().items():
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor  # every process has to ask
            if self.leads:
                tensors[name] = full.cpu().float()
        if not self.leads:
            return whole
        device, self.policy = self.policy.device, whole  # what was taken apart is freed before
        fill(whole, tensors, "training")
        return whole.to(device).eval()


def check_memory(needed: Memory, fleet: Fleet) -> None:
    """Raise BadConfig when the devices cannot even hold what is counted without activations."""
    if fleet.mesh.device_type != "cuda":
        return
    there = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if needed.total > there:
        raise BadConfig(
            f"weights, gradients and moments need {needed.total / GIB:.0f} GiB on each of {fleet.size} GPUs, which have {there / GIB:.0f}: "
            "train on more of them, train low-rank corrections (lora), or pass --recompute."
        )


class Loss(nn.Module):
    """A policy's losses as a module's forward, which is where FSDP puts the weights together."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        """(B,) loss of each sample."""
        return self.policy.losses(batch)


def shard(policy: Policy, fleet: Fleet) -> nn.Module:
    """Take every block apart, and the rest of the policy, in place: a module is moved to the device only to be cut. Returns its losses.

    Weights become float32 on the way, whatever the file had: never more than a block's at a time.
    """
    unused = {p for name, p in policy.named_parameters() if name.startswith("unused.")}  # no loss reads them: they stay where they are
    for stack in policy.stacks().values():
        for block in stack.blocks.values():
            exact(block.parameters())
            fully_shard(block, mesh=fleet.mesh, reshard_after_forward=True)
    exact(p for p in policy.parameters() if not isinstance(p, DTensor) and p not in unused)
    loss = Loss(policy)
    fully_shard(loss, mesh=fleet.mesh, reshard_after_forward=True, ignored_params=unused)
    return loss


def exact(parameters: Iterable[nn.Parameter]) -> None:
    """Make weights float32, in place."""
    for p in parameters:
        p.data = p.data.float()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, to be read and changed in place."""
    part: Tensor = tensor.detach().to_local()  # type: ignore[attr-defined]
    return part


def weights_digest(policy: Policy) -> str:
    """The hash of all weights, read one after another."""
    found = hashlib.sha256()
    for _, tensor in sorted(policy.state_dict().items()):
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()
