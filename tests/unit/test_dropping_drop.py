"""Carrying a plan out: what stays computes as before, the file shrinks and tells what went, the wrong policy is refused."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import cut_world
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dtr.cost import config_digest
from dtr.dropping.cut import parse_cut
from dtr.dropping.drop import check_header, drop, run
from dtr.dropping.plan import read_plan, resolve
from dtr.dropping.scores import BlockScore, Score, write_score
from dtr.dropping.width import action_head, strongest_units
from dtr.errors import BadConfig, BadRecord, PlanMismatch, UnknownName
from dtr.policies.file import load_policy, read_header, save_policy
from dtr.provenance import canonical_json, sha256_file, write_json


def outputs(policy: Any) -> torch.Tensor:
    made: torch.Tensor = policy.act(cut_world.batch())
    return made


def test_a_dropped_block_is_an_identity() -> None:
    """Deleting blocks gives the actions that gates at 0 give."""
    gated, dropped = cut_world.policy(), cut_world.policy()
    for name in ("language.1", "language.3", "language.5", "vision.dino.1", "vision.siglip.1", "vision.siglip.3"):
        gated.gates()[name].alpha = 0.0
    drop(dropped, resolve("language-half+vision-half", dropped))
    torch.testing.assert_close(outputs(dropped), outputs(gated), rtol=0, atol=1e-6)
    assert not torch.allclose(outputs(dropped), outputs(cut_world.policy()), atol=1e-3)


def test_dropping_dead_blocks_changes_nothing() -> None:
    policy = cut_world.policy()
    before = outputs(policy)
    drop(policy, resolve("vision.dino-keep-0_1_2+vision.siglip-keep-0_1_2_3", policy))
    assert torch.equal(outputs(policy), before)


def test_none_changes_nothing() -> None:
    policy = cut_world.policy()
    before = outputs(policy)
    assert torch.equal(outputs(drop(policy, resolve("none", policy))), before)


def test_plan_counts_what_is_really_left() -> None:
    for cut in ("language-half", "vision-ends", "action-half", "action-ends+language-keep-2", "action-keep-1"):
        policy = cut_world.policy()
        plan = resolve(cut, policy)
        drop(policy, plan)
        assert policy.parameter_count == plan.parameters.left
        assert {name: stack.kept for name, stack in policy.stacks().items()} == plan.kept
        assert config_digest(policy) == plan.digest


@pytest.mark.parametrize(("cut", "width"), [("action-half", 16), ("action-ends", 2), ("action-half+action-ends", 2)])
def test_narrow_head_is_a_consistent_head(cut: str, width: int) -> None:
    """Every weight that touches the hidden width is cut, and the head still computes."""
    policy = cut_world.policy()
    drop(policy, resolve(cut, policy))
    head = action_head(policy)
    assert head is not None
    assert head.hidden == policy.config.action.hidden == width
    assert policy.config.action.full_hidden == 32
    assert head.fc1.weight.shape == (width, 7 * 16)
    assert all(block.fc.weight.shape == (width, width) and block.norm.weight.shape == (width,) for block in head.stack.blocks.values())  # type: ignore[union-attr]
    assert (head.norm2.weight.shape, head.fc2.weight.shape) == ((width,), (7, width))
    assert outputs(policy).shape == (4, 2, 7)


def test_units_that_stay_are_the_strongly_written_and_read() -> None:
    policy = cut_world.policy()
    head = action_head(policy)
    assert head is not None
    with torch.no_grad():
        blocks: list[Any] = list(head.stack.blocks.values())
        for unit in (0, 3, 30):  # nothing writes
            for linear in (head.fc1, *(b.fc for b in blocks)):
                linear.weight[unit], linear.bias[unit] = 0, 0
        for unit in (1, 31):  # nothing reads: the norms' gains are zero
            for norm in (head.norm2, *(b.norm for b in blocks)):
                norm.weight[unit] = 0
    assert strongest_units(head, 27) == [j for j in range(32) if j not in (0, 1, 3, 30, 31)]
    assert set(strongest_units(head, 10)) < set(strongest_units(head, 27))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(1.0)
    assert strongest_units(head, 5) == [0, 1, 2, 3, 4]


def test_narrowing_again_goes_by_the_undropped_width() -> None:
    policy = cut_world.policy()
    drop(policy, resolve("action-half", policy))
    assert resolve("action-half", policy).width == (16, 16)
    assert resolve("action-ends", policy).width == (16, 2)
    drop(policy, resolve("action-ends", policy))
    assert resolve("action-half", policy).width == (2, 2)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    save_policy(tmp_path / "whole.safetensors", cut_world.policy(), cut_world.PROCESSOR, {"seed": 0})
    return tmp_path / "whole.safetensors"


def dropped(policy: Path, cut: str, name: str, scores: tuple[Path, ...] = ()) -> Path:
    out = policy.with_name(f"{name}.safetensors")
    run(argparse.Namespace(policy=policy, cut=cut, plan=None, scores=list(scores), plan_out=policy.with_name(f"{name}.json"), out=out))
    return out


def test_file_is_smaller_and_describes_itself(whole: Path) -> None:
    half = dropped(whole, "language-half", "half")
    assert half.stat().st_size < whole.stat().st_size
    kept, before = load_file(half), load_file(whole)
    gone = tuple(f"language.stack.blocks.{i}." for i in (1, 3, 5))
    assert before.keys() - kept.keys() == {name for name in before if name.startswith(gone)}
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.items())
    header = read_header(half)
    assert header["plan"] == read_plan(half.with_name("half.json")).to_json()
    assert header["config"]["language"]["kept"] == [0, 2, 4]
    assert header["provenance"]["seed"] == 0
    assert load_policy(half).policy.stacks()["language"].kept == (0, 2, 4)


def test_equal_inputs_give_equal_bytes(whole: Path) -> None:
    one, two = dropped(whole, "language-half+action-half", "one"), dropped(whole, "language-half+action-half", "two")
    assert one.read_bytes() == two.read_bytes()
    assert one.with_name("one.json").read_bytes() == two.with_name("two.json").read_bytes()


def test_a_plan_made_alone_is_carried_out_later(whole: Path, tmp_path: Path) -> None:
    at_once, plan = dropped(whole, "language-half+action-half", "at_once"), tmp_path / "plan.json"
    run(argparse.Namespace(policy=whole, cut="language-half+action-half", plan=None, scores=[], plan_out=plan, out=None))
    assert plan.read_bytes() == at_once.with_name("at_once.json").read_bytes()
    later = tmp_path / "later.safetensors"
    run(argparse.Namespace(policy=whole, cut=None, plan=plan, scores=[], plan_out=None, out=later))
    assert later.read_bytes() == at_once.read_bytes()
    with pytest.raises(BadConfig, match="name a file"):
        run(argparse.Namespace(policy=whole, cut="none", plan=None, scores=[], plan_out=None, out=None))


def test_dropping_a_dropped_file_uses_original_indices(whole: Path) -> None:
    twice = dropped(dropped(whole, "language-keep-0_2_3_5", "first"), "language-half", "twice")
    assert load_policy(twice).policy.stacks()["language"].kept == (0, 2)
    once = dropped(whole, "language-keep-0_2", "once")
    assert read_plan(twice.with_name("twice.json")).digest == read_plan(once.with_name("once.json")).digest
    assert all(torch.equal(tensor, load_file(once)[name]) for name, tensor in load_file(twice).items())


def test_cut_by_scores(whole: Path, tmp_path: Path) -> None:
    policy = load_policy(whole).policy
    blocks = {name: BlockScore(float(k), 0.0) for k, name in enumerate(policy.gates())}
    score = Score("gateprobe", policy.name, config_digest(policy), sha256_file(whole), ("d",), "0" * 64, 8, 0, blocks)
    write_score(tmp_path / "score.json", score)
    write_score(tmp_path / "other.json", dataclasses.replace(score, weights="1" * 64))
    with pytest.raises(PlanMismatch, match="scores are of the weights 1111"):
        dropped(whole, "language-gateprobe-2", "other", (tmp_path / "other.json",))
    out = dropped(whole, "language-gateprobe-2", "scored", (tmp_path / "score.json",))
    assert load_policy(out).policy.stacks()["language"].kept == (2, 3, 4, 5)
    with pytest.raises(PlanMismatch, match="needs gateprobe scores"):
        dropped(whole, "language-gateprobe-2", "unscored")
    with pytest.raises(PlanMismatch, match="two of gateprobe"):
        dropped(whole, "language-gateprobe-2", "twice", (tmp_path / "score.json", tmp_path / "score.json"))


def test_broken_scores(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "score.json"
    with pytest.raises(BadRecord, match="write it with"):
        dropped(whole, "language-gateprobe-2", "x", (path,))
    write_json(path, {"metric": "gateprobe"})
    with pytest.raises(BadRecord, match="is no score"):
        dropped(whole, "language-gateprobe-2", "x", (path,))
    with pytest.raises(BadRecord, match="not finite"):
        Score("gateprobe", "p", "0" * 16, "0" * 64, ("d",), "0" * 64, 8, 0, {"language.0": BlockScore(float("nan"), 0.0)})


def test_bad_cut_leaves_nothing_behind(whole: Path) -> None:
    for cut, error in (("langauge-half", UnknownName), ("language-keep-7", PlanMismatch)):
        with pytest.raises(error):
            dropped(whole, cut, "bad")
    assert sorted(p.name for p in whole.parent.iterdir()) == ["whole.safetensors"]


def test_plan_of_another_policy() -> None:
    policy = cut_world.policy()
    plan = resolve("language-half", policy)
    drop(policy, plan)
    with pytest.raises(PlanMismatch, match="expects blocks 0-5 in language, but the policy has 0, 2, 4"):
        drop(policy, plan)
    other = cut_world.policy()
    with pytest.raises(PlanMismatch, match="is for pi05"):
        drop(other, dataclasses.replace(plan, policy="pi05"))
    with pytest.raises(PlanMismatch, match="is for configuration"):
        drop(other, dataclasses.replace(plan, source="0" * 16))
    assert other.stacks()["language"].kept == tuple(range(6)), "a refused plan must change nothing"
    with pytest.raises(PlanMismatch, match="promises"):
        drop(other, dataclasses.replace(plan, digest="0" * 16))


def test_header_whose_plan_contradicts_its_configuration(whole: Path) -> None:
    half = dropped(whole, "language-half", "half")
    check_header(read_header(half), half)
    header = read_header(half)
    header["plan"]["digest"] = "0" * 16
    with safe_open(half, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, half, metadata={"dtr": canonical_json(header)})
    with pytest.raises(PlanMismatch, match="carries a plan that leaves 0000000000000000"):
        dropped(half, "none", "again")


def test_the_verb_answers_a_cut_before_it_loads(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        dropped(tmp_path / "missing.safetensors", "language-hlf", "x")
    assert str(parse_cut("none")) == "none"
