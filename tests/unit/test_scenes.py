"""What could be asked for in a scene, read from the BDDL files; and which suites put pressure on language."""

from dataclasses import replace
from pathlib import Path

import pytest

from dtr.sim.layouts import HELD_OUT
from dtr.sim.perturbations.played import alternatives, meant, told, under
from dtr.sim.perturbations.variant import Variant
from dtr.sim.scenes import SILENT, determined, looks_like, possible, scene
from dtr.sim.suites import suite

FOUR = ("embedded_spatial", "embedded_object", "embedded_goal", "embedded_long")
FIVE = (*FOUR, "embedded_compose")


def tasks(*names):
    return [task for name in names for task in suite(name).tasks]


def by_words(name, words):
    (found,) = [task for task in suite(name).tasks if words in task.language]
    return found


def test_a_file_is_read_as_a_scene():
    read = scene(by_words("embedded_goal", "milk in the crate").bddl)
    assert read.goal == (("in", "milk_1", "wood_crate_1_contain_region"),)
    assert read.things["milk_1"] == "wheel_milk" and read.things["floor"] == "floor"
    assert read.places["milk_1"] == ((-0.105, -0.115, -0.055, -0.065),)
    assert read.named() == {"milk_1", "wood_crate_1"}
    assert len(scene(suite("embedded_long").tasks[0].bddl).goal) == 2


@pytest.mark.parametrize("trained", [FOUR, FIVE, (*FIVE, "embedded_pretrain")])
def test_in_embedded_object_the_scene_alone_tells_the_goal(trained):
    assert all(determined(task, tasks(*trained)) for task in tasks("embedded_object"))


@pytest.mark.parametrize("name", ["embedded_spatial", "embedded_goal", "embedded_long", "embedded_compose"])
def test_elsewhere_it_does_not(name):
    assert not any(determined(task, tasks(name)) for task in tasks(name))


@pytest.mark.parametrize(("name", "goals"), [("embedded_goal", 4), ("embedded_spatial", 2), ("embedded_compose", 6)])
def test_the_instruction_alone_tells_it_where_a_scene_has_several_goals(name, goals):
    for task in tasks(name):
        alike = [other for other in tasks(name) if looks_like(task, other)]
        assert len({scene(other.bddl).goal for other in alike}) == len({other.language for other in alike}) == goals
        assert {scene(other.bddl).placed for other in alike} == {scene(task.bddl).placed}, "not alike, but the same"


def test_scenes_that_overlap_look_alike_and_others_do_not(tmp_path: Path):
    task = by_words("embedded_goal", "milk in the crate")

    def moved(old: str, new: str):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.bddl"
        path.write_text(task.bddl.read_text().replace(old, new))
        return replace(task, bddl=path)

    assert looks_like(task, moved("(-0.105 -0.115 -0.055 -0.065)", "(-0.060 -0.115 -0.010 -0.065)"))
    assert not looks_like(task, moved("(-0.105 -0.115 -0.055 -0.065)", "(-0.050 -0.115 -0.010 -0.065)"))
    assert not looks_like(task, moved("milk_1 - wheel_milk", "milk_1 - wheel_can"))
    other = moved("(And (In milk_1 wood_crate_1_contain_region))", "(On milk_1 blue_plate_1_plate_region)")
    assert scene(other.bddl).goal == (("on", "milk_1", "blue_plate_1_plate_region"),) and not determined(task, [task, other])


def test_what_is_held_out_is_new_but_all_of_its_words_and_pairs_of_words_are_not():
    def triples(name):
        goals = {task.language: scene(task.bddl).goal for task in tasks(name)}
        for words in goals:
            thing, rest = words.removeprefix("put the ").split(" on the ", 1)
            yield thing, rest.split()[0], "crate" if rest.endswith("in the crate") else "plate"

    held, trained = set(triples("embedded_compose_held")), set(triples("embedded_compose"))
    assert len(held) == len(HELD_OUT) == 4 and len(trained) == 12 and not held & trained
    for triple in held:
        for left_out in range(3):
            pair = triple[:left_out] + triple[left_out + 1 :]
            assert pair in {other[:left_out] + other[left_out + 1 :] for other in trained}, (triple, pair)
    words = {word for task in tasks(*FOUR, "embedded_pretrain") for word in task.language.split()}
    assert words >= {word for task in tasks("embedded_compose", "embedded_compose_held") for word in task.language.split()}
    for task in tasks("embedded_compose_held"):
        assert any(scene(task.bddl).placed == scene(other.bddl).placed for other in tasks("embedded_compose")), "only the words are new"


def test_swapped_instructions_are_possible_in_the_same_scene():
    spatial, long = (under(suite(name), Variant.of(None, "swapped")) for name in ("embedded_spatial", "embedded_long"))
    left = by_words("embedded_spatial", "on the left")
    assert {other.name for other in alternatives(spatial, left)} == {by_words("embedded_spatial", "on the right").name}
    milk = by_words("embedded_long", "milk on the plate and")
    assert {told(long, milk, 0, state) for state in range(9)} == {by_words("embedded_long", "milk in the crate and").language}
    for name in ("embedded_object", "embedded_goal", "embedded_compose", "embedded_compose_held"):
        swapped = under(suite(name), Variant.of(None, "swapped"))
        for task in swapped.tasks:
            for state in range(4):
                said, goal = meant(swapped, task, 7, state)
                other = next(other for other in swapped.tasks if other.name == said)
                assert possible(task, other) and told(swapped, task, 7, state) == other.language
                assert goal == scene(other.bddl).goal != scene(task.bddl).goal


def test_what_is_meant_survives_other_perturbations_and_is_nothing_where_nothing_is_swapped():
    goal = suite("embedded_goal")
    task = goal.tasks[2]
    plain, both = (under(goal, Variant.of(which, "swapped")) for which in (None, "language-5"))
    assert meant(plain, task, 7, 3) == meant(both, task, 7, 3) is not None
    assert all(meant(under(goal, Variant.of(None, mode)), task, 7, 3) is None for mode in (None, "blank", "shuffled"))


def test_a_task_whose_scene_allows_one_goal_is_told_anything_and_nothing_is_judged():
    lonely = replace(suite("embedded_spatial"), tasks=tuple(t for t in suite("embedded_spatial").tasks if "right" not in t.language))
    swapped = under(lonely, Variant.of(None, "swapped"))
    task = by_words("embedded_spatial", "on the left")
    assert told(swapped, task, 0, 0) in {other.language for other in swapped.tasks if other != task}
    assert meant(swapped, task, 0, 0) is None


def test_a_goal_that_lights_a_stove_is_not_watched(tmp_path: Path):
    goal = suite("embedded_goal")
    task = goal.tasks[0]
    path = tmp_path / "turn_on.bddl"
    path.write_text(task.bddl.read_text().replace("(In green_block_1 wood_crate_1_contain_region)", "(Turnon green_block_1)"))
    other = replace(task, index=1, name="turn_on", language="turn on the green block", bddl=path)
    swapped = under(replace(goal, tasks=(task, other)), Variant.of(None, "swapped"))
    assert scene(path).goal == (("turnon", "green_block_1"),) and "turnon" not in SILENT
    assert told(swapped, task, 0, 0) == other.language and meant(swapped, task, 0, 0) is None
