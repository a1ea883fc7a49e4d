"""Cuts of attention or MLP alone: what they mean, what is left, and that file, plan, verb and export say so."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cut_world
import pytest
from four_policies import NAMES, batch, config, made
from safetensors.torch import load_file

from dtr.cost import config_digest, measure
from dtr.dropping.drop import drop, run, summary
from dtr.dropping.plan import Plan, read_plan, resolve
from dtr.errors import BadCheckpoint, BadRecord, PlanMismatch
from dtr.hub.export import export_policy
from dtr.policies.file import load_policy, read_header, save_policy
from dtr.policies.registry import skeleton
from dtr.records import validate

BLOCK = {"attention": 4 * 16**2 + 16, "mlp": 3 * 16 * 24 + 16}
"""Parameters of the two parts of a language block of `cut_world`."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", ["language-half-attention", "vision-keep-0_1-mlp", "language-half-mlp+language-keep-0_2_5", "action"])
def test_a_plan_counts_what_is_really_left(name: str, cut: str) -> None:
    if cut == "action":
        cut = "action-half-attention+action-ends-mlp" if name != "openvla_oft" else "action-half+language-ends-attention"
    policy = made(name)
    plan, before = resolve(cut, policy), policy.state_dict()
    value = json.loads(json.dumps(plan.to_json()))
    validate(value, "plan", cut)
    assert Plan.from_json(value) == plan and plan.parts
    drop(policy, plan)
    left = policy.state_dict()
    assert plan.parameters.before - plan.parameters.left == sum(t.numel() for t in before.values()) - sum(t.numel() for t in left.values())
    assert plan.parameters.left == policy.parameter_count and plan.digest == config_digest(policy)
    assert plan.flops.left == measure(policy).flops.total < plan.flops.before
    assert policy.act(batch(name)).isfinite().all()


def test_by_hand() -> None:
    policy = skeleton("openvla_oft", cut_world.CONFIG)
    N, D, M = 1 + 2 * 4 + 1 + 21, 16, 24
    for part, operations in (("attention", 8 * N * D**2 + 4 * N**2 * D), ("mlp", 6 * N * D * M)):
        plan = resolve(f"language-half-{part}", policy, text_tokens=22)
        assert dict(plan.parts) == {part: {"language": (1, 3, 5)}} and not any(plan.dropped.values())
        assert plan.parameters.before - plan.parameters.left == 3 * BLOCK[part]
        assert plan.flops.before - plan.flops.left == 3 * operations


def test_unions_mean_what_they_say() -> None:
    policy = skeleton("openvla_oft", cut_world.CONFIG)
    ends = resolve("language-half-attention+language-ends", policy)
    assert (ends.kept["language"], ends.dropped["language"]) == ((0, 5), (1, 2, 3, 4))
    assert dict(ends.parts) == {"attention": {"language": (5,)}}
    both = resolve("language-half-attention+language-half-mlp", policy)
    assert both.parts == {} and both.digest == resolve("language-half", policy).digest and "parts" not in both.to_json()
    drop(policy, resolve("language-half-attention", policy))
    rest = resolve("language-half-mlp", policy)
    assert rest.dropped["language"] == (1, 3, 5) and rest.digest == both.digest
    assert resolve("language-half-attention", policy).digest == resolve("none", policy).digest
    with pytest.raises(PlanMismatch, match=r"keeps block 1 of language, but this policy has attention in blocks 0, 2, 4 of 6"):
        resolve("language-keep-1-attention", policy)


def test_dead_parts_are_reported_apart() -> None:
    vision = resolve("vision-half-attention", skeleton("openvla_oft", cut_world.CONFIG))
    assert vision.dead_dropped == ("vision.dino.3.attention",) and vision.dead_kept == ("vision.dino.3.mlp", "vision.siglip.4")
    assert vision.note == "of the 4 dropped attention parts, 1 was dead and cost nothing to lose"
    flow = skeleton("pi05", config("pi05"))
    plan = resolve("action-keep-0_1_2_3_4-attention+language-half-mlp+language-keep-0_1_3_4_5", flow)
    assert plan.note == "of the 1 dropped block and 1 dropped attention part and 3 dropped mlp parts, 1 was dead and cost nothing to lose"
    assert plan.dead_dropped == ("language.5.mlp",)
    assert plan.dead_kept == ("language.4", "language.5.attention"), "the expert attends up to layer 4, which reads what enters it"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    save_policy(tmp_path / "whole.safetensors", cut_world.policy(), cut_world.PROCESSOR, {"seed": 0})
    return tmp_path / "whole.safetensors"


def test_the_verb_the_file_and_what_export_says(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half, cut = tmp_path / "half.safetensors", "language-half-attention+vision.dino-keep-0_3"
    run(argparse.Namespace(policy=whole, cut=cut, plan=None, scores=[], plan_out=tmp_path / "plan.json", out=half))
    said = capsys.readouterr().out
    assert "dropped 2 of 4 vision.dino blocks, the attention of 3 of 6 language blocks; " in said
    plan, before, after = read_plan(tmp_path / "plan.json"), load_file(whole), load_file(half)
    assert summary(plan) in said
    assert sum(before[name].numel() for name in before.keys() - after.keys()) == plan.parameters.before - plan.parameters.left
    assert read_header(half)["config"]["language"]["without_attention"] == [1, 3, 5]
    loaded = load_policy(half)
    assert loaded.header["plan"] == plan.to_json() and loaded.policy.parameter_count == plan.parameters.left
    assert loaded.policy.act(cut_world.batch()).equal(drop(load_policy(whole).policy, plan).act(cut_world.batch()))
    with pytest.raises(BadCheckpoint, match="whole blocks only, but blocks 1, 3, 5 of language lost their attention"):
        export_policy(loaded, tmp_path / "official")
    assert not (tmp_path / "official").exists()
    with pytest.raises(PlanMismatch, match="is for configuration"):
        drop(cut_world.policy(), resolve("none", resolved("language-half-mlp")))


def resolved(cut: str) -> object:
    policy = cut_world.policy()
    return drop(policy, resolve(cut, policy))


def test_a_plan_of_an_unknown_part() -> None:
    value = resolve("language-half-mlp", skeleton("openvla_oft", cut_world.CONFIG)).to_json()
    for parts in ({"norm": {"language": [1]}}, {"mlp": {"language": [-1]}}, {}):
        with pytest.raises(BadRecord, match="parts"):
            validate(value | {"parts": parts}, "plan", "plan.json")
