r"""How sure it is which blocks a cut takes: under other samples of the same data, and under other data.

    D_k(s)        the k blocks of a component that a cut by scores s takes                         (`dtr.dropping.selection.least`)
    s_r           scores of n samples drawn anew, with replacement, from the n samples;  r = 1 .. R, all blocks by the same draw
    p_k(B)      = share of r with B in D_k(s_r)
    agreement_k = mean over r of |D_k(s_r) and D_k(s)| / k,       same_k = share of r with D_k(s_r) = D_k(s)
    overlap_k   = |D_k(s) and D_k(s')| / k                        s' scores of the same metric on another calibration set

IGIA is resampled over its training steps; a metric with one value a block (magnitude, random, sleb) rests on no sample, or on none that
could be drawn anew without scoring again, and has no p. Two cuts of the same k in a component of n blocks overlap by k/n by chance.
Source: Efron (1979), Ann. Stat. 7:1, the percentile bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtr.dropping.scores import BlockScore, Score, block_index
from dtr.dropping.selection import Depth, depths_of, least
from dtr.errors import PlanMismatch

SEED = 0


@dataclass(frozen=True)
class Level:
    """One component at one drop level: which blocks go, and what was found out about them."""

    component: str
    drop: int
    dropped: tuple[str, ...]
    found: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The value of a level in `schemas/stability.schema.json`."""
        return {"component": self.component, "drop": self.drop, "dropped": list(self.dropped), **self.found}


def drop_levels(n: int, levels: Sequence[int] | None) -> list[int]:
    """The levels looked at in a component of n blocks: the paper's, 9, 12, 16 and 17 of 18, as shares."""
    wanted = levels if levels is not None else (n // 2, round(2 * n / 3), n - 2, n - 1)
    return sorted({k for k in wanted if 0 < k < n})


def components(score: Score, levels: Sequence[int] | None) -> list[tuple[str, Mapping[str, Depth], list[int]]]:
    """Component, its stacks, the levels that are looked at."""
    found = depths_of(score)
    return [(name, stacks, drop_levels(sum(len(d.present) for d in stacks.values()), levels)) for name, stacks in found.items()]


def stability(score: Score, values: Mapping[str, Tensor], levels: Sequence[int] | None = None, resamples: int = 1000) -> list[Level]:
    """Every component at every level. values: block -> (n,) or (n, spans), those behind `score`."""
    n = len(next(iter(values.values())))
    draws = redrawn(score, values, n, resamples) if n > 1 else []
    found = []
    for component, stacks, chosen in components(score, levels):
        for k in chosen:
            mine = least(stacks, score.blocks, k)
            facts = shares(mine, [least(stacks, drawn, k) for drawn in draws], stacks) if draws else {}
            found.append(Level(component, k, tuple(sorted(mine, key=order)), facts))
    return found


def redrawn(score: Score, values: Mapping[str, Tensor], n: int, resamples: int) -> list[dict[str, BlockScore]]:
    """The blocks' scores of each draw."""
    shares = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=resamples) / n  # (R, n)
    means = {name: (torch.from_numpy(shares) @ value.double()).tolist() for name, value in values.items()}
    blocks = score.blocks

    def block(name: str, mean: Any) -> BlockScore:
        first, spans = (mean[0], tuple(mean)) if isinstance(mean, list) else (mean, ())
        return BlockScore(first, 0.0, blocks[name].dead, spans)

    return [{name: block(name, means[name][r]) for name in blocks} for r in range(resamples)]


def shares(mine: Sequence[str], drawn: Sequence[Sequence[str]], stacks: Mapping[str, Depth]) -> dict[str, Any]:
    """p, agreement and same of one level."""
    sets, own = [set(names) for names in drawn], set(mine)
    names = [f"{stack}.{i}" for stack, depth in stacks.items() for i in depth.present]
    return {
        "probability": {name: sum(name in s for s in sets) / len(sets) for name in names},
        "agreement": sum(len(s & own) for s in sets) / len(sets) / len(own),
        "same": sum(s == own for s in sets) / len(sets),
    }


def overlaps(score: Score, other: Score, levels: Sequence[int] | None = None) -> list[Level]:
    """Every component at every level, against scores on another calibration set. Raises PlanMismatch when they are of something else."""
    expected, got = ((s.metric, s.policy, s.source, s.weights) for s in (score, other))
    if expected != got:
        raise PlanMismatch(
            f"expected {score.metric} scores of the same policy to compare with, got {other.metric} of {other.policy} "
            f"{other.weights[:16]}; score this policy on the other data."
        )
    found = []
    for component, stacks, chosen in components(score, levels):
        for k in chosen:
            mine, theirs = (least(stacks, s.blocks, k) for s in (score, other))
            facts = {"against": list(other.calibration), "overlap": len(set(mine) & set(theirs)) / k}
            found.append(Level(component, k, tuple(sorted(mine, key=order)), facts))
    return found


def order(name: str) -> tuple[str, int]:
    """Stack by stack, shallow first."""
    return name.rsplit(".", 1)[0], block_index(name)


def summary(score: Score, levels: Sequence[Level]) -> str:
    """A few lines for the user: which blocks go at each level, and how sure that is."""
    lines = [f"{score.metric} on {', '.join(score.calibration)}:"]
    for level in levels:
        what = f"  {level.component}, {level.drop} dropped: {' '.join(name.split('.', 1)[1] for name in level.dropped)}"
        if "agreement" in level.found:
            what += f"   (resampled: {level.found['agreement']:.0%} of them again, all the same in {level.found['same']:.0%} of the draws)"
        if "overlap" in level.found:
            what += f"   ({level.found['overlap']:.0%} of them also on {', '.join(level.found['against'])})"
        lines.append(what)
    return "\n".join(lines)
