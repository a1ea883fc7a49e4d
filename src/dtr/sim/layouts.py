"""The embedded suites as tables: who stands where, what is asked, what must hold at the end. `dtr suites` writes them out as BDDL.

Coordinates are metres on the floor, x away from the robot, y to its left; a slot is a square of +-JITTER around its centre.
The four suites mirror LIBERO's: the place tells which (spatial), the name does (object), only the instruction does (goal),
two goals in a row (long). `embedded_pretrain` shares their vocabulary but no pair of object and receptacle, and no layout.

Two more put pressure on language (`dtr pressure`): every instruction of `embedded_compose` and `embedded_compose_held` is object x place x
relation, eight in a scene, and which of both suites a combination is in is all that tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from dtr.sim.objects import RECEPTACLES

JITTER_M = 0.025
RECEPTACLE_JITTER_M = 0.015
WIDE_M = 0.045

CATEGORY = {name: f"wheel_{name}" for name in ("milk", "cereal", "can", "bread")}
"""Short names of the tables -> categories; names not listed here are categories already."""

PHRASE = {"wood_crate": "in the crate", "blue_plate": "on the plate"}
PREDICATE = {"wood_crate": "In", "blue_plate": "On"}

# Slots of the suites.
LEFT, RIGHT, NEAR, FAR = (0.02, 0.16), (0.02, -0.16), (-0.10, -0.02), (0.12, -0.02)


@dataclass(frozen=True)
class Layout:
    """One task: instruction, places of all things by instance name (`milk_1`), goals as (object, receptacle), the objects' jitter."""

    language: str
    places: dict[str, tuple[float, float]]
    goals: tuple[tuple[str, str], ...]
    jitter_m: float = JITTER_M

    @property
    def name(self) -> str:
        """The task's name: its instruction with underscores, as in LIBERO."""
        return self.language.replace(" ", "_")


def _category(instance: str) -> str:
    short = instance.rsplit("_", 1)[0]
    return CATEGORY.get(short, short)


def _spatial() -> list[Layout]:
    """Two milk cartons, one crate; only the place in the instruction tells which carton."""
    sideways = {"milk_1": (-0.06, -0.10), "milk_2": (-0.06, 0.10), "wood_crate_1": (0.12, 0.0)}
    depth = {"milk_1": (-0.12, -0.06), "milk_2": (0.10, -0.06), "wood_crate_1": (0.0, 0.17)}
    pick = "pick up the milk {} and place it in the crate"
    return [
        Layout(pick.format("on the left"), sideways, (("milk_2", "wood_crate_1"),)),
        Layout(pick.format("on the right"), sideways, (("milk_1", "wood_crate_1"),)),
        Layout(pick.format("at the front"), depth, (("milk_2", "wood_crate_1"),)),
        Layout(pick.format("at the back"), depth, (("milk_1", "wood_crate_1"),)),
    ]


def _object() -> list[Layout]:
    """Four objects, one crate, another layout for each task."""
    slots = [(-0.12, -0.20), (-0.10, -0.02), (0.06, -0.18), (0.08, -0.03)]
    orders = {
        "milk": ("milk_1", "cereal_1", "can_1", "green_block_1"),
        "cereal": ("can_1", "milk_1", "green_block_1", "cereal_1"),
        "can": ("green_block_1", "can_1", "cereal_1", "milk_1"),
        "green block": ("cereal_1", "green_block_1", "milk_1", "can_1"),
    }
    return [
        Layout(
            f"pick up the {what} and place it in the crate",
            dict(zip(order, slots, strict=True)) | {"wood_crate_1": (-0.02, 0.18)},
            ((f"{what.replace(' ', '_')}_1", "wood_crate_1"),),
        )
        for what, order in orders.items()
    ]


GOAL_SCENE = {"milk_1": (-0.08, -0.09), "green_block_1": (-0.08, 0.09), "wood_crate_1": (0.10, 0.13), "blue_plate_1": (0.10, -0.13)}
"""One scene for four instructions."""


def _goal() -> list[Layout]:
    return [
        Layout(f"put the {what} {PHRASE[where]}", GOAL_SCENE, ((f"{what.replace(' ', '_')}_1", f"{where}_1"),))
        for what in ("milk", "green block")
        for where in ("wood_crate", "blue_plate")
    ]


def _long() -> list[Layout]:
    def two(first: str, second: str, where: tuple[str, str], language: str) -> Layout:
        places = {f"{first}_1": (-0.08, -0.09), f"{second}_1": (-0.08, 0.09), "wood_crate_1": (0.10, 0.13), "blue_plate_1": (0.10, -0.13)}
        return Layout(language, places, ((f"{first}_1", f"{where[0]}_1"), (f"{second}_1", f"{where[1]}_1")))

    crate, plate = "wood_crate", "blue_plate"
    return [
        two("milk", "green_block", (plate, crate), "put the milk on the plate and the green block in the crate"),
        two("milk", "green_block", (crate, plate), "put the milk in the crate and the green block on the plate"),
        two("can", "green_block", (plate, crate), "put the can on the plate and the green block in the crate"),
        two("can", "green_block", (crate, plate), "put the can in the crate and the green block on the plate"),
    ]


def _pretrain() -> list[Layout]:
    """Pairs that no suite asks for, with wide jitter, mirrored and shifted receptacles."""
    scenes: list[tuple[str, str, dict[str, tuple[float, float]]]] = [
        ("red block", "wood_crate", {"red_block_1": (-0.06, -0.14), "cereal_1": (0.08, -0.05), "wood_crate_1": (0.02, 0.18)}),
        ("red block", "blue_plate", {"red_block_1": (0.02, 0.12), "milk_1": (-0.12, 0.0), "blue_plate_1": (0.06, -0.14)}),
        ("purple block", "wood_crate", {"purple_block_1": (-0.06, 0.14), "can_1": (0.06, 0.05), "wood_crate_1": (0.04, -0.17)}),
        ("purple block", "blue_plate", {"purple_block_1": (-0.10, 0.04), "green_block_1": (0.02, -0.16), "blue_plate_1": (0.12, 0.08)}),
        ("bread", "wood_crate", {"bread_1": (-0.02, 0.14), "milk_1": (-0.10, -0.04), "wood_crate_1": (0.10, -0.12)}),
        ("bread", "blue_plate", {"bread_1": (-0.08, -0.10), "yellow_block_1": (-0.08, 0.12), "blue_plate_1": (0.11, 0.02)}),
        ("yellow block", "wood_crate", {"yellow_block_1": (-0.10, -0.04), "purple_block_1": (-0.02, 0.16), "wood_crate_1": (0.12, 0.0)}),
        ("yellow block", "blue_plate", {"yellow_block_1": (0.06, -0.16), "can_1": (-0.10, 0.0), "blue_plate_1": (0.0, 0.15)}),
    ]
    return [
        Layout(f"put the {what} {PHRASE[where]}", places, ((f"{what.replace(' ', '_')}_1", f"{where}_1"),), WIDE_M)
        for what, where, places in scenes
    ]


COMPOSED = (("milk", "green block"), ("cereal", "can"))
"""The two objects of each scene, each there twice; the first stands in the row behind, being taller."""

BEHIND, BEFORE = (-0.165, 0.075), (-0.035, 0.18)
"""x of both rows, and how far left or right of the middle their things stand: nothing is carried over another."""

NARROW_M = 0.02

HELD_OUT = (
    *(("milk", "left", "blue_plate"), ("green block", "right", "wood_crate")),
    *(("cereal", "right", "blue_plate"), ("can", "left", "wood_crate")),
)
"""Combinations that are never trained on. Each of their words, and each pair of words, is in combinations that are."""


def _compose(held: bool) -> list[Layout]:
    """Two of each object, crate and plate: only all three of object, place and relation tell which of eight goals is meant."""
    layouts = []
    for behind, before in COMPOSED:
        rows = {behind: BEHIND, before: BEFORE}
        things = {f"{what.replace(' ', '_')}_{k}": (x, side * y) for what, (x, y) in rows.items() for k, side in ((1, -1), (2, 1))}
        places = things | {"wood_crate_1": (0.125, 0.13), "blue_plate_1": (0.125, -0.13)}
        for what, (side, k), where in product(rows, (("left", 2), ("right", 1)), PHRASE):
            if ((what, side, where) in HELD_OUT) == held:
                goal = ((f"{what.replace(' ', '_')}_{k}", f"{where}_1"),)
                layouts.append(Layout(f"put the {what} on the {side} {PHRASE[where]}", places, goal, NARROW_M))
    return layouts


LAYOUTS = {
    "embedded_spatial": _spatial(),
    "embedded_object": _object(),
    "embedded_goal": _goal(),
    "embedded_long": _long(),
    "embedded_pretrain": _pretrain(),
    "embedded_compose": _compose(held=False),
    "embedded_compose_held": _compose(held=True),
}


def bddl(layout: Layout) -> str:
    """The BDDL text of a task, in the dialect of LIBERO's own files."""
    regions, init = [], []
    instances: dict[str, list[str]] = {}  # LIBERO's parser wants all instances of a category on one line
    for instance, (x, y) in sorted(layout.places.items()):
        category = _category(instance)
        r = RECEPTACLE_JITTER_M if category in RECEPTACLES else layout.jitter_m
        regions.append(f"    ({instance}_place (:target floor) (:ranges (({x - r:.3f} {y - r:.3f} {x + r:.3f} {y + r:.3f}))))")
        instances.setdefault(category, []).append(instance)
        init.append(f"    (On {instance} floor_{instance}_place)")
        if category in RECEPTACLES:
            regions.append(f"    ({RECEPTACLES[category]} (:target {instance}))")
    goals, interest = [], []
    for thing, where in layout.goals:
        category = _category(where)
        goals.append(f"({PREDICATE[category]} {thing} {where}_{RECEPTACLES[category]})")
        interest += [name for name in (thing, where) if name not in interest]
    lines = [
        "(define (problem Embedded_Floor_Manipulation)",
        "  (:domain robosuite)",
        f"  (:language {layout.language})",
        "  (:regions",
        *regions,
        "  )",
        "  (:fixtures",
        "    floor - floor",
        "  )",
        "  (:objects",
        *(f"    {' '.join(names)} - {category}" for category, names in instances.items()),
        "  )",
        "  (:obj_of_interest",
        *(f"    {name}" for name in interest),
        "  )",
        "  (:init",
        *init,
        "  )",
        "  (:goal",
        f"    (And {' '.join(goals)})",
        "  )",
        ")",
    ]
    return "\n".join(lines) + "\n"
