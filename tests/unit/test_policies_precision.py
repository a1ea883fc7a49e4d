"""Asked in bfloat16, a policy gives the numbers of autocast to the bit, near those of float32, from half as large matrices."""

from __future__ import annotations

import copy
from dataclasses import replace

import four_policies
import pytest
import recovery_world as world
import torch

from dtr.dropping.scores import BlockScore, Score
from dtr.errors import UnknownName
from dtr.importance.gateprobe import gate_gradients
from dtr.policies.precision import lower
from dtr.records import validate
from dtr.recovery.recipe import Recipe
from dtr.rollout.protocol import Protocol


@pytest.mark.parametrize("name", four_policies.NAMES)
def test_bfloat16_is_autocast_with_the_matrices_stored_so(name: str) -> None:
    policy, batch = four_policies.made(name), four_policies.batch(name)
    exact = [policy.act(batch), policy.losses(batch).detach()]
    with torch.autocast("cpu", torch.bfloat16):
        expected = [policy.act(batch).float(), policy.losses(batch).detach().float()]
    lowered = lower(copy.deepcopy(policy), "bf16")
    got = [lowered.act(batch), lowered.losses(batch).detach()]
    for low, cast, full in zip(got, expected, exact, strict=True):
        assert low.dtype == torch.float32 and torch.equal(low, cast) and not torch.equal(low, full)
        assert (low - full).norm() < 0.1 * full.norm()
    types = {n: p.dtype for n, p in lowered.named_parameters()}
    assert {t for n, t in types.items() if "norm" in n and ".dense." not in n and "gamma." not in n and "beta." not in n} == {torch.float32}
    stored, before = (sum(p.nbytes for p in each.parameters()) for each in (lowered, policy))
    assert 0.5 * before < stored < 0.75 * before
    scores, exact_scores = ({k: g.abs() for k, g in gate_gradients(p, batch).items()} for p in (lowered, policy))
    assert all(scores[block].shape == exact_scores[block].shape for block in exact_scores)
    live = [block for block in exact_scores if block not in policy.dead]
    assert all(bool((scores[block] > 0).any()) for block in live)


def test_an_unknown_precision_is_refused() -> None:
    policy = four_policies.made("openvla_oft")
    assert lower(policy, None) is policy and "act" not in vars(policy)
    with pytest.raises(UnknownName, match="did you mean 'bf16'"):
        lower(policy, "bf61")


def test_records_say_it_only_where_it_was_asked_for() -> None:
    """So that older files keep their bytes and digests."""
    plain, low = Protocol("p"), Protocol("p", precision="bf16")
    assert "precision" not in plain.to_dict() and Protocol.from_dict(low.to_dict()) == low
    assert plain.conditions(5, "scenes") != low.conditions(5, "scenes")
    exact = Score("gateprobe", "pi05", "0" * 16, "0" * 64, ("d",), "0" * 64, 2, 0, {"language.0": BlockScore(1.0, 0.1)})
    rounded = replace(exact, precision="bf16")
    assert "precision" not in exact.to_json() and Score.from_json(rounded.to_json()) == rounded
    validate(rounded.to_json(), "score", "it")
    recipe = world.recipe(precision="bf16")
    assert "precision" not in world.recipe().to_dict() and Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(UnknownName, match="unknown precision"):
        world.recipe(precision="fp8")
