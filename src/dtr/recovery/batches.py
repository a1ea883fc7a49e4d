"""Batches as a pure function of (data, seed, step): nothing to store, so an interrupted run draws what it would have drawn.

    position p = step * B + i,   epoch e = p div N,   row = permutation(seed, e)[p mod N]

Every frame is drawn once before any is drawn twice. Legend: N frames to train on, B batch, C chunk, A action dim, n cameras.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray

from dtr.data.dataset import Dataset
from dtr.data.normalisation import moving, summary
from dtr.errors import BadCheckpoint, BadDemonstrations
from dtr.policies.base import Batch
from dtr.policies.bounds import Statistics
from dtr.policies.processor import EXACT, Processor

Rows = NDArray[np.int64]


class Order:
    """Which of `rows` (N,) each step draws."""

    def __init__(self, rows: Rows, batch: int, seed: int) -> None:
        if len(rows) == 0:
            raise BadDemonstrations("expected at least one frame to train on, got none: hold out fewer episodes or record more.")
        self.rows, self.batch, self.seed = rows, batch, seed
        self.permutation = functools.lru_cache(2)(self._permutation)  # a batch may span two epochs

    def _permutation(self, epoch: int) -> Rows:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)

    def draw(self, step: int) -> Rows:
        """The rows (B,) of batch number `step`."""
        epochs, places = np.divmod(step * self.batch + np.arange(self.batch), len(self.rows))
        return np.array([self.permutation(int(e))[p] for e, p in zip(epochs, places, strict=True)])


class Batches:
    """`data` as the policy's inputs; pictures stay uint8 until a batch is drawn."""

    def __init__(self, data: Dataset, processor: Processor) -> None:
        self.data, self.processor = data, processor.fixed(data.instructions)
        self.targets = processor.targets(data.actions).numpy()  # (N, D)

    def batch(self, rows: Rows, device: torch.device | str = "cpu") -> Batch:
        """The samples `rows` (B,): what the processor makes of them, and `actions` (B, C, D), D the model's action dimension."""
        data = self.data
        batch = self.processor.batch(data.images[rows], data.state[rows], [data.instructions[task] for task in data.task[rows]])
        batch["actions"] = torch.from_numpy(self.targets[data.future(rows, self.processor.chunk)])
        return {name: tensor.to(device) for name, tensor in batch.items()}


def fitted(processor: Processor, data: Dataset, rows: Rows) -> Processor:
    """`processor` with the statistics of `rows` of `data`, of the kind that it has."""
    actions, proprio = statistics(data.actions[rows], data.state[rows], type(processor.actions_bounds))
    return dataclasses.replace(processor, actions_bounds=actions, proprio_bounds=proprio)


def statistics(actions: NDArray[np.float32], state: NDArray[np.float32], kind: type[Statistics]) -> tuple[Statistics, Statistics]:
    """Of actions (N, A) and state (N, S). Not normalised: the gripper's command, and whatever does not move at all."""
    of_actions, of_state = of_columns(actions, kind), of_columns(state, kind)
    return dataclasses.replace(of_actions, mask=(*of_actions.mask[:-1], False)), of_state  # type: ignore[type-var]


def of_columns(values: NDArray[np.float32], kind: type[Statistics]) -> Statistics:
    """Statistics of every column of `values` (N, D)."""
    numbers = summary(values)
    first, second = (tuple(numbers[name]) for name in kind.numbers)
    return kind(first, second, tuple(moving(np.array(numbers["q01"]), np.array(numbers["q99"])).tolist()))


def check(data: Dataset, processor: Processor, cameras: int) -> None:
    """Raise BadDemonstrations when the policy cannot be trained on `data`."""
    there = data.images.shape[2:4]
    side = (processor.image_size,) * 2 if processor.image_path == EXACT else there
    for what, expected, got in (
        ("action numbers", processor.action_dim, data.actions.shape[1]),
        ("state numbers", len(processor.proprio_bounds.mask), data.state.shape[1]),
        ("cameras", processor.pictures(cameras), data.images.shape[1]),
        ("pixels a side", side, there),
    ):
        if expected != got:
            raise BadDemonstrations(f"the policy expects {expected} {what}, the demonstrations have {got}: render or record them to match.")
    for numbers in (processor.actions_bounds, processor.proprio_bounds):
        if not numbers.finite:
            raise BadCheckpoint(f"the policy's normalisation statistics must be finite, got {numbers}: make the policy file again.")
