"""The policy's side of a rollout: requests of any number in, one padded batch of fixed shape through the model, chunks of actions out.

Why the shape is fixed (measured on one core, MKL 2024.2, AVX-512; repeated by tests/unit/test_rollout_inference.py): the bits of a row
depend on the number of rows (10 % of small products) and on the row's place (13 %), because BLAS treats the last rows of a matrix by
other kernels than the first; on the content of the other rows they never depend. So the number of rows and the text length are fixed
here, and the engine gives every episode one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dtr.errors import BadConfig
from dtr.policies.base import Batch, Observation, Policy
from dtr.policies.precision import lower
from dtr.policies.processor import EXACT, Processor
from dtr.robots import DEFAULT, ROBOTS
from dtr.rollout.protocol import Protocol
from dtr.rollout.worker import Array

if TYPE_CHECKING:
    from dtr.sim.simulator import Frame


class Inference:
    """Rows of (frame, instruction) -> rows of environment actions (chunk, A) float64, A of the policy's robot.

    `instructions` are all that may ever be asked for in this suite: the longest one fixes the text length where the processor does not.
    """

    def __init__(self, policy: Policy, processor: Processor, rows: int, instructions: Sequence[str]) -> None:
        self.policy, self.rows, self.given = policy.eval(), rows, processor
        self.processor = processor.fixed(instructions)

    def also(self, instructions: Sequence[str]) -> Inference:
        """The same policy where other instructions are told: itself where that changes no shape, so that requests of both share batches."""
        other = Inference(self.policy, self.given, self.rows, instructions)
        return self if other.processor is self.processor else other

    def __call__(self, requests: Mapping[int, tuple[Frame, str]]) -> dict[int, Array]:
        """Rows that nobody asked for are filled with a copy of one that somebody did."""
        normalised = self.policy.act({name: tensor.to(self.policy.device) for name, tensor in self.batch(requests).items()})
        actions = self.processor.actions(normalised)
        return {row: actions[row] for row in requests}

    def batch(self, requests: Mapping[int, tuple[Frame, str]]) -> Batch:
        """What the policy is given for them."""
        given = {row: Observation(frame.images, frame.state, text) for row, (frame, text) in requests.items()}
        filler = next(iter(given.values()))
        return self.processor.inputs([given.get(row, filler) for row in range(self.rows)])


def build_inference(
    policy: Policy, processor: Processor, protocol: Protocol, instructions: Sequence[str], robot: str = DEFAULT
) -> Inference:
    """One thread and deterministic kernels. Raises BadConfig when policy, protocol and `robot` (`dtr.robots`) do not fit."""
    if processor.robot != robot:
        raise BadConfig(f"this policy speaks of the robot {processor.robot}, but {robot} is played here: use a policy made for it.")
    if protocol.chunk > processor.chunk:
        expected = f"at most {processor.chunk} executed actions a chunk"
        raise BadConfig(f"this policy predicts {expected}, but the protocol {protocol.name} has chunk={protocol.chunk}: lower it.")
    if protocol.image_path != processor.image_path:
        raise BadConfig(
            f"this policy sees pictures by the image path {processor.image_path}, but the protocol {protocol.name} is for "
            f"{protocol.image_path}: set its image_path, or choose the protocol of this policy."
        )
    if protocol.gripper is not None:
        check_robot(processor, protocol)
    if processor.image_path == EXACT and protocol.image_size != processor.image_size:
        raise BadConfig(
            f"this policy sees images of {processor.image_size} px, but the protocol {protocol.name} renders {protocol.image_size} px: "
            "set its image_size."
        )
    torch.set_num_threads(1)
    return Inference(lower(policy, protocol.precision), processor, protocol.batch, instructions)


def check_robot(processor: Processor, protocol: Protocol) -> None:
    """Raise BadConfig where a policy reads another arm, or speaks of its gripper otherwise, than LIBERO's evaluation does."""
    if processor.gripper_rule() != protocol.gripper:
        raise BadConfig(
            f"this policy's gripper is read by the rule {processor.gripper_rule()}, but the protocol {protocol.name} is for "
            f"{protocol.gripper}: choose the protocol of this policy."
        )
    numbers, arm = len(processor.proprio_bounds.mask), ROBOTS[DEFAULT]
    if (numbers, processor.action_dim) != (len(arm.state), len(arm.actions)):
        raise BadConfig(
            f"LIBERO's arm gives {len(arm.state)} numbers (position, axis-angle, two fingers) and takes {len(arm.actions)}, but this "
            f"policy reads {numbers} and gives {processor.action_dim}: it was made for another robot."
        )


def action_gap(policy: Policy, processor: Processor, requests: Sequence[tuple[Frame, str]], sizes: Sequence[int]) -> Mapping[int, float]:
    """The largest difference of any action number between batches of 1 and padded batches of each size, over every row; no gripper.

    The gripper is left out because it is a sign: its flips show as 2.0 and in the episodes.
    """
    instructions = [text for _, text in requests]
    alone = Inference(policy, processor, 1, instructions)
    expected = [alone({0: request})[0][:, :-1] for request in requests]
    gaps: dict[int, float] = {}
    for size in sizes:
        infer = Inference(policy, processor, size, instructions)
        found = [(i, infer({row: request})[row][:, :-1]) for i, request in enumerate(requests) for row in range(size)]
        gaps[size] = max(float(np.abs(actions - expected[i]).max()) for i, actions in found)
    return gaps
