"""The samples on which every metric scores: the same frames and the same noise for all of them.

    sample x = (frame, noise e_x, time t_x),      e_x, t_x drawn from (calibration seed, row of the frame)

A policy that is trained by flow matching draws noise and a time in its loss. Here each sample has its own, a function of the calibration's
seed and of which frame it is: so neither the metric nor the batch size nor what stands beside it in the batch changes what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtr.data.dataset import Dataset
from dtr.errors import BadConfig, BadDemonstrations
from dtr.policies.base import Batch, Policy
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.processor import Processor
from dtr.recovery.batches import Batches, check
from dtr.recovery.course import noise_seed

Values = dict[str, Tensor]
"""Gate name -> (n,) importance of the block (or part) for each sample; their mean is the score. Where a metric has no value a sample, n is
something else (training steps, or 1), and where a block has a value a span, they are (n, spans): the metric's text says so."""


@dataclass(frozen=True)
class Calibration:
    """`batches()`: the samples, batch by batch, equal at every call; `samples`: how many in all; `seed`: of all that is drawn."""

    batches: Callable[[], Iterator[Batch]]
    samples: int
    seed: int = 0

    @classmethod
    def of(cls, batches: Sequence[Batch], seed: int = 0) -> Calibration:
        """Batches that are in memory."""
        return cls(lambda: iter(batches), sum(map(size, batches)), seed)


def size(batch: Batch) -> int:
    """B."""
    return len(batch["actions"])


def each_alone(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch as batches of one; what has K rows a sample (noise, time) keeps them."""
    B = size(batch)
    for b in range(B):
        yield {name: t.unflatten(0, (B, -1))[b] for name, t in batch.items()}


def calibration_rows(data: Dataset, samples: int, seed: int) -> NDArray[np.int64]:
    """The frames to score on: `samples` different rows of `data`, ascending. Raises BadDemonstrations when there are too few."""
    if samples < 2:
        raise BadConfig(f"expected at least 2 calibration samples (one has no standard error), got {samples}; ask for 64 or more.")
    if samples > len(data):
        raise BadDemonstrations(f"expected {samples} calibration frames, but the data has {len(data)}; record more or ask for fewer.")
    return np.sort(np.random.default_rng(seed).permutation(len(data))[:samples])


def drawn(policy: Policy, processor: Processor, data: Dataset, samples: int, seed: int, batch: int) -> Calibration:
    """`samples` frames of `data` for `policy`, `batch` at a time. Raises BadDemonstrations when the policy cannot read them."""
    rows = calibration_rows(data, samples, seed)
    check(data, processor, policy.config.images)
    source = Batches(data, processor)

    def batches() -> Iterator[Batch]:
        for first in range(0, samples, batch):
            chosen = rows[first : first + batch]
            made = with_noise(policy, source.batch(chosen), [noise_seed(seed, int(row)) for row in chosen])
            yield {name: tensor.to(policy.device) for name, tensor in made.items()}

    return Calibration(batches, samples, seed)


def with_noise(policy: Policy, batch: Batch, seeds: Sequence[int]) -> Batch:
    """`batch`, on the CPU, with `seed` (B,) and, for a policy that draws them, `noise` (B K, C, A) and `time` (B K,), sample by sample."""
    batch = batch | {"seed": torch.tensor(seeds)}
    if not isinstance(policy, FlowPolicy):
        return batch
    paths = []
    with torch.random.fork_rng(devices=[]):
        for alone in each_alone({"actions": batch["actions"]} | {"seed": batch["seed"]}):
            torch.manual_seed(int(alone["seed"]))
            paths.append(policy.path(alone))
    return batch | {"noise": torch.cat([e for e, _ in paths]), "time": torch.cat([t for _, t in paths])}
