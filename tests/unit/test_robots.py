"""What numbers mean is said by name: policies and robots whose numbers are merely equally many are refused, not scored low."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_policies_flow_processor import processor
from tiny_policy import tiny

from dtr.errors import BadConfig, BadMessage, UnknownName
from dtr.policies.processor import read_processor
from dtr.robots import ROBOTS, robot
from dtr.rollout.inference import build_inference
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import check_shapes, read_hello
from dtr.wire.robot import RobotHello, RobotTask, answer

WORDS = ["put the milk in the crate"]
PROTOCOL = Protocol("p", chunk=8, image_size=64)
LIBERO_LIKE = ["libero_quaternion", "libero_open_1"]


@pytest.mark.parametrize("other", LIBERO_LIKE)
def test_equal_lengths_are_no_equal_robots(other: str) -> None:
    assert (len(robot(other).state), len(robot(other).actions)) == (len(ROBOTS["libero"].state), len(ROBOTS["libero"].actions)) == (8, 7)
    policy, ours = tiny(WORDS, image_size=64)
    build_inference(policy, ours, PROTOCOL, WORDS)
    with pytest.raises(BadConfig, match=f"speaks of the robot {other}, but libero is played here"):
        build_inference(policy, replace(ours, robot=other), PROTOCOL, WORDS)
    build_inference(policy, replace(ours, robot=other), PROTOCOL, WORDS, other)
    hello = RobotHello("r", (RobotTask("a", "do a"),), 1, 9, "s", robot=other)
    check_shapes(hello, 2, 8, 7, other)
    with pytest.raises(BadConfig, match=f"but r is {other}: use a policy made for it"):
        check_shapes(hello, 2, 8, 7)


def test_a_policy_file_names_another_robot_only() -> None:
    _, ours = tiny(WORDS)
    assert "robot" not in ours.to_dict() and read_processor(ours.to_dict()).robot == "libero"
    assert read_processor(processor(robot="aloha").to_dict()).robot == "aloha"
    with pytest.raises(UnknownName, match="did you mean 'aloha'"):
        processor(robot="alohaa")


def test_joints_are_not_clipped_to_what_a_gripper_may_say() -> None:
    far = torch.full((1, 2, 9), 40.0)
    assert np.abs(processor().actions(far)).max() == 1
    assert np.abs(processor(robot="aloha").actions(far)).max() > 1


class Joints:
    """Two arms; remembers its last action."""

    hello = RobotHello("joints", (RobotTask("a", "do a"),), 1, 9, "s", cameras=3, state_dim=14, action_dim=14, robot="aloha")

    def step(self, action: np.ndarray) -> bool:
        self.last = action
        return False


def test_a_robot_s_own_limit_holds() -> None:
    from dtr.wire.message import Message

    joints = Joints()
    step = {"actions": np.full((1, 14), 2.5)}
    assert answer(joints, Message("step", {}, step))[0] == "stepped" and joints.last[0] == 2.5  # type: ignore[arg-type]
    for wrong in (np.full((1, 14), np.nan), np.zeros((1, 7))):
        with pytest.raises(BadMessage, match=r"actions \(k, 14\) that are finite"):
            answer(joints, Message("step", {}, {"actions": wrong}))  # type: ignore[arg-type]


def test_a_hello_that_contradicts_itself_is_refused() -> None:
    words = {"name": "r", "tasks": [{"name": "a", "language": "x", "languages": ["x", "y"]}], "states": 2, "max_steps": 9, "scenes": ""}
    words |= {"cameras": 2, "state_dim": 8, "action_dim": 7, "connections": 1}
    assert read_hello(words, "x").robot == "libero" and read_hello(words, "x").tasks[0].languages == ("x", "y")
    for change in ({"robot": "aloha"}, {"states": 3}, {"action_dim": 14}):
        with pytest.raises(BadMessage, match="says it is"):
            read_hello(words | change, "x")
    with pytest.raises(UnknownName, match="unknown robot"):
        read_hello(words | {"robot": "r2d2"}, "x")
