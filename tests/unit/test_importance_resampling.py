"""How sure a cut is, and cuts of blocks side by side, against brute force."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from dtr.dropping.cut import METRICS, scored
from dtr.dropping.scores import BlockScore, Score
from dtr.dropping.selection import Depth, least
from dtr.dropping.spans import cheapest_spans
from dtr.errors import PlanMismatch
from dtr.importance.metrics import FUNCTIONS
from dtr.importance.resampling import drop_levels, overlaps, stability
from dtr.policies.parts import GRANULARITIES
from dtr.records import schema


def record(values: Mapping[str, list[float]], dead: tuple[str, ...] = (), **change: object) -> Score:
    blocks = {name: BlockScore(float(np.mean(v)), 0.0, name in dead) for name, v in values.items()}
    return Score(**({"metric": "gateprobe", "policy": "p", "source": "0" * 16, "weights": "1" * 64, "calibration": ("a",)} | {
        "data": "2" * 64, "samples": 6, "seed": 0, "blocks": blocks} | change))  # fmt: skip


def test_every_metric_is_known_everywhere() -> None:
    assert tuple(FUNCTIONS) == METRICS
    pattern = re.compile(schema("score")["properties"]["metric"]["pattern"])
    assert all(pattern.fullmatch(scored(metric, part)) for metric in METRICS for part in GRANULARITIES)
    assert not pattern.fullmatch("gateprobe.block") and not pattern.fullmatch("ppl")


def test_levels_are_the_papers() -> None:
    assert drop_levels(18, None) == [9, 12, 16, 17]
    assert drop_levels(2, None) == [1] and drop_levels(1, None) == [] and drop_levels(12, [3, 12, 40]) == [3]


def test_probabilities_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    values = {f"language.{i}": rng.normal(i % 3, 1.0, 6).tolist() for i in range(5)}
    R = 400
    (level,) = stability(record(values), {name: torch.tensor(v) for name, v in values.items()}, [2], R)
    counts, same, draws = dict.fromkeys(values, 0), 0, np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=R)
    for draw in draws:
        means = {name: float(np.dot(draw, v)) / 6 for name, v in values.items()}
        going = sorted(values, key=lambda name: means[name])[:2]
        for name in going:
            counts[name] += 1
        same += set(going) == set(level.dropped)
    assert level.found["probability"] == pytest.approx({name: n / R for name, n in counts.items()})
    assert level.found["same"] == pytest.approx(same / R)
    assert level.found["agreement"] == pytest.approx(sum(counts[name] for name in level.dropped) / R / 2)


def test_a_clear_case_is_certain_and_ties_go_deep_first() -> None:
    values = {f"language.{i}": [float(i > 2)] * 6 for i in range(5)} | {"language.4": [0.0] * 6}
    (level,) = stability(record(values), {name: torch.tensor(v) for name, v in values.items()}, [2], 50)
    assert level.dropped == ("language.2", "language.4")
    assert level.found["agreement"] == level.found["same"] == level.found["probability"]["language.4"] == 1
    alone = stability(record(values), {name: torch.tensor(v[:1]) for name, v in values.items()}, [2])
    assert alone[0].found == {}, "one value a block cannot be resampled"


def test_overlap() -> None:
    one = record({f"language.{i}": [float(i)] for i in range(6)})
    other = record({f"language.{i}": [float(i % 4)] for i in range(6)}, calibration=("b",))
    assert [level.found["overlap"] for level in overlaps(one, other, [1, 2, 3, 4])] == [0.0, 0.5, 1 / 3, 0.5]
    with pytest.raises(PlanMismatch, match="score this policy on the other data"):
        overlaps(one, record({"language.0": [1.0]}, weights="3" * 64))
    with pytest.raises(PlanMismatch, match="expected gateprobe scores"):
        overlaps(one, record({"language.0": [1.0]}, metric="gateprobe.mlp"))


def brute(stacks: dict[str, list[str]], spans: dict[str, list[float]], count: int) -> float:
    """The least sum over every way to take one span, or none, from each stack."""
    ways = []
    for names in stacks.values():
        ways.append([(0, 0.0)] + [(m, spans[name][m - 1]) for name in names for m in range(1, len(spans[name]) + 1) if m < len(names)])
    return min(sum(cost for _, cost in way) for way in itertools.product(*ways) if sum(m for m, _ in way) == count)


def test_spans_are_the_cheapest() -> None:
    rng = random.Random(0)
    for _ in range(200):
        stacks = {f"vision.{tower}": [f"vision.{tower}.{i}" for i in range(rng.randint(2, 5))] for tower in ("dino", "siglip")}
        spans = {name: [rng.random() for _ in names[i:]] for names in stacks.values() for i, name in enumerate(names)}
        count = rng.randint(1, sum(map(len, stacks.values())) - 2)
        going = cheapest_spans(stacks, spans, count, set(spans))
        assert len(set(going)) == count
        cost = 0.0
        for names in stacks.values():
            mine = [names.index(name) for name in going if name in names]
            assert mine == list(range(mine[0], mine[0] + len(mine))) if mine else True, "side by side"
            cost += spans[names[mine[0]]][len(mine) - 1] if mine else 0.0
        assert cost == pytest.approx(brute(stacks, spans, count))


def test_of_equal_spans_the_deepest_and_never_all_that_is_alive() -> None:
    names = [f"language.{i}" for i in range(5)]
    flat = {name: BlockScore(0.5, 0.0, name == "language.4", (0.5,) * (5 - i)) for i, name in enumerate(names)}
    depths = {"language": Depth(5, (0, 1, 2, 3, 4), (4,))}
    assert least(depths, flat, 2) == ["language.3", "language.4"]
    assert least(depths, flat, 4) == ["language.1", "language.2", "language.3", "language.4"], "0 to 3 would leave the dead block alone"
