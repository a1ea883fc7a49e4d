"""What a BDDL file says of a scene: what stands where, what must hold at the end; and from that, what could be asked for in it.

looks like    two scenes hold the same kinds of things, in regions that overlap: a picture may be of either
possible      what another task asks for can be done, and means the same, in this task's scene
determined    no other task asks for something else in a scene that looks like this one: its picture alone tells the goal
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bddl.parsing import scan_tokens

from dtr.sim.suites import Task

Goal = tuple[tuple[str, ...], ...]
"""Predicates that must all hold: (("in", "milk_1", "wood_crate_1_contain_region"),)."""

Rectangle = tuple[float, float, float, float]
"""x low, y low, x high, y high in metres."""

SILENT = ("in", "on", "open", "close")
"""Predicates that change nothing when they are asked; LIBERO's `turnon` lights the stove in the picture."""


@dataclass(frozen=True)
class Scene:
    """`things`: category of every object and fixture by instance; `sites`: all that a predicate may name; `places`: where objects begin,
    as rectangles where the file says so; `placed`: the file's own words about it; `goal`."""

    things: dict[str, str]
    sites: frozenset[str]
    places: dict[str, tuple[Rectangle, ...]]
    placed: str
    goal: Goal

    def alone(self, instance: str) -> bool:
        """Whether it is the only one of its kind here, so that its name needs no place."""
        return list(self.things.values()).count(self.things[instance]) == 1

    def named(self) -> set[str]:
        """The instances that the goal speaks of: `wood_crate_1` for its site `wood_crate_1_contain_region`."""
        return {thing for predicate in self.goal for name in predicate[1:] for thing in self.things if is_of(name, thing)}


def is_of(name: str, thing: str) -> bool:
    """Whether `name` is the thing or a site of it."""
    return name == thing or name.startswith(f"{thing}_")


@cache
def scene(path: Path) -> Scene:
    """The scene of a BDDL file."""
    sections = {part[0]: part[1:] for part in scan_tokens(filename=str(path))[1:]}
    things = typed(sections[":fixtures"]) | typed(sections[":objects"])
    regions = {f"{dict_of(r)[':target'][0]}_{r[0]}": dict_of(r) for r in sections[":regions"]}
    places = {
        predicate[1]: tuple(tuple(float(x) for x in box) for box in regions[predicate[2]][":ranges"][0])
        for predicate in sections[":init"]
        if len(predicate) == 3 and ":ranges" in regions.get(predicate[2], {})
    }
    (condition,) = sections[":goal"]
    goal = condition[1:] if condition[0] == "and" else [condition]
    placed = repr((sections[":regions"], sections[":objects"], sections[":fixtures"], sections[":init"]))
    return Scene(things, frozenset({*things, *regions}), places, placed, tuple(tuple(predicate) for predicate in goal))  # type: ignore[arg-type]


def typed(words: list[str]) -> dict[str, str]:
    """`a b - kind c - other` as instance -> category."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "-":
            found |= dict.fromkeys(waiting, word)
            waiting = []
        elif word != "-":
            waiting.append(word)
    return found


def dict_of(region: list[Any]) -> dict[str, list[Any]]:
    """The keyed parts of a region."""
    return {part[0]: part[1:] for part in region[1:]}


def possible(task: Task, other: Task) -> bool:
    """Whether what `other` asks for is another goal, can be reached in the scene of `task`, and means there what it means in its own.

    Of several things of a kind, the instruction names one by its place: that means the same only where both scenes are one.
    """
    here, there = scene(task.bddl), scene(other.bddl)
    names = {name for predicate in there.goal for name in predicate[1:]}
    if there.goal == here.goal or not names <= here.sites:
        return False
    return here.placed == there.placed or all(here.alone(thing) and there.alone(thing) for thing in there.named())


def looks_like(a: Task, b: Task) -> bool:
    """Whether a first picture of `a` could be one of `b`: the same kinds of things, each in a region that overlaps one of the other's."""
    here, there = scene(a.bddl), scene(b.bddl)
    if sorted(here.things.values()) != sorted(there.things.values()):
        return False

    def matched(one: Scene, two: Scene) -> bool:
        return all(
            any(two.things[other] == one.things[thing] and overlap(boxes, two.places[other]) for other in two.places)
            for thing, boxes in one.places.items()
        )

    return matched(here, there) and matched(there, here)


def overlap(a: Iterable[Rectangle], b: Iterable[Rectangle]) -> bool:
    """Whether any rectangle of one meets any of the other."""
    b = tuple(b)
    return any(p[0] <= q[2] and q[0] <= p[2] and p[1] <= q[3] and q[1] <= p[3] for p in a for q in b)


def determined(task: Task, tasks: Iterable[Task]) -> bool:
    """Whether the scene of `task` alone tells its goal, for who has learnt `tasks`."""
    return all(scene(other.bddl).goal == scene(task.bddl).goal for other in tasks if looks_like(task, other))
