"""The official protocols: as data, given as they are, and paired with the policies that they belong to."""

from dataclasses import replace

import pytest
from tiny_policy import tiny

from dtr.errors import BadConfig, UnknownName
from dtr.rollout.inference import build_inference
from dtr.rollout.official import names, resolved
from dtr.rollout.protocol import Protocol

WORDS = ["put the milk in the crate"]
EXPECTED = {  # seed, chunk, image path, gripper
    "oft-8of8-seed0": (0, 8, "oft", "threshold"),
    "openpi-5of10-seed7": (7, 5, "openpi", "raw"),
    "lingbot-8-seed42": (42, 8, "lingbot", "sign"),
}


def test_each_is_what_its_evaluation_does():
    assert names() == sorted(EXPECTED)
    for name, (seed, chunk, path, gripper) in EXPECTED.items():
        p = Protocol.read(name)
        assert (p.name, p.seed, p.chunk, p.image_path, p.gripper) == (name, seed, chunk, path, gripper)
        assert (p.trials, p.settle_steps, p.image_size) == (50, 10, 256)
        assert [p.limit(suite, 0) for suite in ("libero_spatial", "libero_object", "libero_goal", "libero_10")] == [220, 280, 300, 520]
        assert Protocol.from_dict(p.to_dict()) == p


def test_only_how_much_of_it_is_played_is_ours_to_say():
    assert resolved({"name": "x", "official": "oft-8of8-seed0", "trials": 3, "batch": 8}, "here")["chunk"] == 8
    with pytest.raises(BadConfig, match="beside official: oft-8of8-seed0, got chunk: leave official out"):
        resolved({"official": "oft-8of8-seed0", "chunk": 4}, "here")
    with pytest.raises(UnknownName, match="did you mean 'oft-8of8-seed0'"):
        resolved({"official": "oft-8of8-seed1"}, "here")


def test_a_protocol_of_before_has_the_conditions_of_before():
    plain = Protocol("closed")
    assert "gripper" not in plain.to_dict() and "image_path" not in plain.to_dict()
    assert (
        plain.conditions(140, "s")
        == replace(plain, gripper=None).conditions(140, "s")
        != replace(plain, gripper="raw").conditions(140, "s")
    )


def test_a_policy_of_another_protocol_is_refused_not_scored():
    policy, processor = tiny(WORDS, image_size=64)
    ours = Protocol("p", chunk=8, image_size=64, gripper="threshold")
    build_inference(policy, processor, ours, WORDS)
    for change, said in (
        ({"gripper": "raw"}, "gripper is read by the rule threshold, but the protocol p is for raw"),
        ({"image_path": "oft"}, "pictures by the image path exact, but the protocol p is for oft"),
        ({"chunk": 50}, "at most 8 executed actions a chunk"),
    ):
        with pytest.raises(BadConfig, match=said):
            build_inference(policy, processor, replace(ours, **change), WORDS)
    foreign = replace(processor, action_dim=14)
    with pytest.raises(BadConfig, match=r"gives 8 numbers .* and takes 7, but this policy reads 8 and gives 14"):
        build_inference(policy, foreign, ours, WORDS)
