"""Perturbations without a simulator: names, words, noise, records."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dtr.errors import UnknownName
from dtr.rollout.episode import Episode, read_episodes, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on
from dtr.sim import embedded
from dtr.sim.perturbations.language import NOUNS, instructed, rewrite
from dtr.sim.perturbations.noise import KINDS, corrupt
from dtr.sim.perturbations.played import told, under
from dtr.sim.perturbations.variant import CATEGORIES, INSTRUCTIONS, LEVELS, Perturbation, Variant, generator, split
from dtr.sim.suites import suite

GOAL = suite("embedded_goal")
EPISODE = Episode("embedded_goal", "t", 0, 1, 7, "success", 40, 10, "0" * 16, None, "1" * 16, "2" * 16)


@pytest.mark.parametrize("text", ["", "+camera-3", "+blank", "+robot-5+swapped"])
def test_a_variant_is_its_text(text):
    name, variant = split(f"embedded_goal{text}")
    assert (name, str(variant)) == ("embedded_goal", text)
    assert Variant.of(*(variant.perturbation and str(variant.perturbation), variant.instruction)) == variant


@pytest.mark.parametrize("text", ["+camera", "+camera-6", "+camera-0", "+camra-3", "+blank+camera-3", "+camera-3+robot-2", "+", "+loud"])
def test_what_is_no_variant_is_named(text):
    with pytest.raises(UnknownName, match=r"unknown variant .*expected <suite>"):
        split(f"embedded_goal{text}")


def test_a_mistyped_perturbation_finds_its_neighbour():
    with pytest.raises(UnknownName, match="did you mean 'camera-3'"):
        Variant.of("camra-3", None)
    with pytest.raises(UnknownName, match="instruction mode 'blanc': did you mean 'blank'"):
        Variant.of(None, "blanc")


def test_a_plain_record_has_the_bytes_that_it_had():
    line = EPISODE.line
    assert "perturbation" not in line and "instruction" not in line
    assert Episode.parse(line, "here") == EPISODE and EPISODE.label == "embedded_goal"
    protocol = Protocol("closed")
    assert conditions_on(protocol, "embedded_goal") == protocol.conditions(140, _scenes(), Variant())


def _scenes():
    from dtr.sim.suites import suite_digest

    return suite_digest("embedded_goal")


def test_a_varied_record_says_so_and_its_conditions_differ(tmp_path: Path):
    varied = replace(EPISODE, perturbation="camera-3", instruction="blank")
    write_episodes(tmp_path / "x.jsonl", [varied])
    assert read_episodes(tmp_path / "x.jsonl") == [varied] and varied.label == "embedded_goal+camera-3+blank"
    assert json.loads(varied.line)["perturbation"] == "camera-3"
    labels = ["embedded_goal", *(f"embedded_goal+{c}-{level}" for c in CATEGORIES for level in LEVELS)]
    labels += [f"embedded_goal+{mode}" for mode in INSTRUCTIONS]
    assert len({conditions_on(Protocol("closed"), label) for label in labels}) == len(labels)


def test_only_scenes_that_change_are_perturbed():
    assert under(GOAL, Variant.of("language-3", "blank")).tasks == GOAL.tasks
    assert {task.perturbation for task in under(GOAL, Variant.of("light-2", None)).tasks} == {"light-2"}


def test_what_is_told_is_a_function_of_the_episode():
    task = GOAL.tasks[1]
    assert told(GOAL, task, 0, 0) == task.language
    for level in LEVELS:
        varied = under(GOAL, Variant.of(f"language-{level}", None))
        texts = [told(varied, task, 7, state) for state in range(8)]
        assert texts == [told(varied, task, 7, state) for state in range(8)]
        assert task.language not in texts if level > 1 else all(task.language in text for text in texts)
        assert len(set(texts)) > 1
    assert told(under(GOAL, Variant.of(None, "blank")), task, 0, 0) == ""
    swapped = {told(under(GOAL, Variant.of(None, "swapped")), task, 0, state) for state in range(20)}
    assert swapped == {other.language for other in GOAL.tasks} - {task.language}
    shuffled = told(under(GOAL, Variant.of(None, "shuffled")), task, 0, 0)
    assert shuffled != task.language and sorted(shuffled.split()) == sorted(task.language.split())


def test_words_of_other_tasks_are_rewritten_too():
    def of(text: str, level: int) -> str:
        return rewrite(text, Perturbation("language", level), generator(0))

    assert "stove" not in of("turn on the stove", 3) and "turn on" not in of("turn on the stove", 2)
    assert of("the canned thing", 3) == "the canned thing", "whole words only"
    assert of("put the bowl on the plate", 5).count(".") == 1
    assert instructed("shuffled", "go go", [], generator(0)) == "go go"
    assert instructed("swapped", "a", ["a"], generator(0)) == ""


def test_no_other_word_for_a_thing_could_mean_another_thing():
    """Among all instructions of LIBERO and ours: else a policy that took the named thing would fail."""
    folders = (Path(find_spec("libero").submodule_search_locations[0]) / "libero/bddl_files", Path(embedded.__file__).parent)
    told = [re.search(r"\(:language ([^)]*)\)", path.read_text())[1].lower() for folder in folders for path in folder.rglob("*.bddl")]
    assert len(told) > 150
    spoken = {word for text in told for word in text.split()} | {word.rstrip("s") for text in told for word in text.split()}
    for noun, others in NOUNS.items():
        own = set(noun.split())
        elsewhere = {word for other, words in NOUNS.items() if other != noun for text in words for word in text.split()}
        new = {word for text in others for word in text.split()} - own
        assert not new & (spoken | elsewhere), noun
    for seed in range(9):
        text = rewrite("put both moka pots on the stove and the mugs in the drawer", Perturbation("language", 3), generator(seed))
        assert re.fullmatch(r"put both (coffee makers|espresso pots) on the (cooker|hob) and the (cups|beakers) in the drawer", text)


def test_noise_grows_with_its_level_and_repeats():
    x, y = np.mgrid[0:64, 0:64]
    image = np.stack([128 + 100 * np.sign(np.sin(x / 9)), 128 + 100 * np.cos(y / 8), 4 * x], axis=-1).astype(np.uint8)
    seen = set()
    for episode in range(12):
        kind = str(generator(episode).choice(KINDS))
        harm = []
        for level in LEVELS:
            worse = corrupt(image, Perturbation("noise", level), generator(episode), generator(episode, 0))
            assert worse.dtype == np.uint8 and worse.shape == image.shape
            assert np.array_equal(worse, corrupt(image, Perturbation("noise", level), generator(episode), generator(episode, 0)))
            harm.append(float(np.abs(worse.astype(int) - image).mean()))
        assert harm[0] > 0.1 and harm[-1] > harm[0] and harm[-1] < 110, kind
        seen.add(kind)
    assert seen == set(KINDS)
