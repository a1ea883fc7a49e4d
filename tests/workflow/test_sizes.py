"""Sizes by arithmetic are those that are counted, and forwards those that the metrics take."""

import csv

import four_policies
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from world import ROOT

from dtr.cost import measure
from dtr.dropping.cut import METRICS
from dtr.dropping.plan import resolve
from dtr.errors import UnknownName
from dtr.importance.calibration import Calibration
from dtr.importance.metrics import FUNCTIONS
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.registry import beside, skeleton
from dtr.workflow.passes import forwards
from dtr.workflow.sizes import FULL_SIZE, STACKS, depths, left

CLASSES = tuple(FULL_SIZE)


@pytest.mark.parametrize("name", CLASSES)
def test_published_sizes_are_those_that_are_counted(name):
    policy = skeleton(name, beside(name, "_config", "FULL_SIZE"))
    cost = measure(policy)
    assert (FULL_SIZE[name].parameters, FULL_SIZE[name].flops) == pytest.approx((cost.parameters.total, cost.flops.total), rel=0.01)
    assert {s: (b.depth, b.dead) for s, b in STACKS[name].items()} == {s: (b.depth, b.dead) for s, b in policy.stacks().items()}
    several = "vision-half+language-half-mlp" + ("+action-ends" if name != "openvla_oft" else "")
    for cut in ("language-half", several):
        plan = resolve(cut, policy)
        assert left(name, cut) == pytest.approx((plan.parameters.fraction, plan.flops.fraction), abs=0.003), cut


def test_what_is_left_is_near_what_the_paper_says():
    with open(ROOT / "results/reported/table4.csv", newline="") as file:
        said = {line["row"]: float(line["percent"]) / 100 for line in csv.DictReader(file) if line["column"] == "flops"}
    for k in (9, 12, 16, 17):
        assert left("pi05", f"language-gateprobe-{k}")[1] == pytest.approx(said[f"pi05.drop{k}"], abs=0.035)


def test_equal_blocks_cost_the_same_whoever_chooses_them():
    assert len({left("pi05", f"language-{metric}-9") for metric in METRICS}) == 1
    assert left("pi05", "language-gateprobe-9") == left("pi05", "language-keep-0_1_2_3_4_5_6_9_13") < left("pi05", "none") == (1.0, 1.0)
    whole, attention, mlp = (1 - left("pi05", f"language-half{part}")[1] for part in ("", "-attention", "-mlp"))
    assert whole == pytest.approx(attention + mlp) and 0 < attention < mlp
    assert left("openvla_oft", "vision-half+vision-half-mlp") == left("openvla_oft", "vision-half")
    assert left("pi05", "language-keep-17")[1] == pytest.approx(left("pi05", "language-ends")[1] - 0.0487, abs=0.0001)


@pytest.mark.parametrize("name", ["openvla_oft", "pi05"])
def test_a_metric_takes_the_forwards_of_the_table(name):
    policy, batch = four_policies.made(name), four_policies.batch(name)
    if isinstance(policy, FlowPolicy):
        batch |= dict(zip(("noise", "time"), policy.path(batch), strict=True))
    stacks = {stack: len(blocks.kept) for stack, blocks in policy.stacks().items()}

    def operations(work):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    with torch.no_grad():
        once = operations(lambda: policy.losses(batch))
    for metric, scores in FUNCTIONS.items():
        took = operations(lambda scores=scores: scores(policy, Calibration.of([batch]))) / once
        assert forwards(metric, stacks) == took == 0 or 0.9 < forwards(metric, stacks) / took < 1.4, (metric, took)


def test_forwards_are_told_of_parts_and_of_no_metric_that_does_not_exist():
    blocks = {"vision.dino": 2, "vision.siglip": 3, "language": 4}
    assert forwards("leave_one_out.mlp", blocks) == 10 and forwards("sleb", blocks) == 15 + 10 and forwards("random", blocks) == 0
    with pytest.raises(UnknownName, match="did you mean 'gateprobe'"):
        forwards("gatprobe", blocks)


def test_depths_are_a_configuration_s_own_or_those_of_its_class():
    assert depths({"class": "pi05"}) == {"vision": 27, "language": 18, "action": 18}
    own = {"image_size": 64, "dino": {"depth": 6}, "siglip": {"depth": 5}, "language": {"depth": 12}}
    assert depths({"class": "openvla_oft", "model": own}) == {"vision.dino": 6, "vision.siglip": 5, "language": 12}
