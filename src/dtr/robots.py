"""What the numbers of each robot mean. Lengths do not tell it: eight numbers may be a position, an axis-angle and two fingers, or
a position, a quaternion and one.

So a policy says which robot it speaks of, a simulator or server which one it is, and a pair that differs is refused instead of scoring low.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtr.errors import unknown

DEFAULT = "libero"
"""The robot of files and servers that name none: it was the only one."""


@dataclass(frozen=True)
class Robot:
    """`state` and `actions`: a word for each number, with its unit. `limit`: actions lie in [-limit, limit]; None: any finite number."""

    state: tuple[str, ...]
    actions: tuple[str, ...]
    limit: float | None


POSE = ("x m", "y m", "z m")
ARM = tuple(f"joint {k} rad" for k in range(1, 7))
SIDES = ("left", "right")
BOTH_ARMS = tuple(f"{side} {word}" for side in SIDES for word in (*ARM, "gripper 0 closed .. 1 open"))

ROBOTS = {
    "libero": Robot(
        (*POSE, "axis-angle x rad", "axis-angle y rad", "axis-angle z rad", "finger m", "finger m"),
        (*(f"move {axis}" for axis in "xyz"), *(f"turn {axis}" for axis in "xyz"), "gripper -1 opens +1 closes"),
        1.0,
    ),
    "libero_quaternion": Robot(
        (*POSE, *(f"quaternion {axis}" for axis in "xyzw"), "finger m"),
        (*(f"move {axis}" for axis in "xyz"), *(f"turn {axis}" for axis in "xyz"), "gripper -1 opens +1 closes"),
        1.0,
    ),
    "libero_open_1": Robot(
        (*POSE, "axis-angle x rad", "axis-angle y rad", "axis-angle z rad", "finger m", "finger m"),
        (*(f"move {axis}" for axis in "xyz"), *(f"turn {axis}" for axis in "xyz"), "gripper 0 closes 1 opens"),
        1.0,
    ),
    "aloha": Robot(BOTH_ARMS, BOTH_ARMS, None),
}
"""`libero`: LIBERO's Panda under OSC_POSE. `libero_quaternion`, `libero_open_1`: the same arm as other data sets write it, which no policy
here speaks. `aloha`: both arms of RoboTwin's aloha-agilex, absolute joint targets."""


def robot(name: str) -> Robot:
    """The robot of that name. Raises UnknownName."""
    if name not in ROBOTS:
        raise unknown("robot", name, ROBOTS)
    return ROBOTS[name]
