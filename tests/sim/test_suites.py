"""The embedded suites: files in the package are those that the tables describe, and the suites keep their promises to each other. LIBERO's:
policies are told what its own benchmark tells them."""

import subprocess
import sys

import numpy as np
import pytest

from dtr.errors import MissingAssets, UnknownName
from dtr.sim import layouts, shapes, suites
from dtr.sim.objects import RECEPTACLES, look_at
from dtr.sim.official_states import manifest
from dtr.sim.setup import bootstrap

EVALUATED = ("embedded_spatial", "embedded_object", "embedded_goal", "embedded_long")
LIBERO = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
DIGESTS = {
    "embedded_compose": "fdd3752f29bcb3a5",
    "embedded_compose_held": "ee2302430f02bf3e",
    "embedded_goal": "10f8707764ac54fd",
    "embedded_long": "6cc06eeaefa7567d",
    "embedded_object": "3185ede7f7001a41",
    "embedded_pretrain": "19b09caadb2124d1",
    "embedded_spatial": "3324ef82c5e80b52",
}


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_files_are_what_the_tables_say(name):
    tasks = suites.suite(name).tasks
    texts = {layout.name: layouts.bddl(layout) for layout in layouts.LAYOUTS[name]}
    assert {task.name: task.bddl.read_text() for task in tasks} == texts
    assert [task.language.replace(" ", "_") for task in tasks] == [task.name for task in tasks]


def test_shapes_are_what_the_code_says():
    for category in (*shapes.BLOCKS, *RECEPTACLES):
        assert (suites.EMBEDDED / "assets" / f"{category}.xml").read_text() == shapes.primitive_xml(category)


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_fifty_different_states_a_task(name):
    for task in suites.suite(name).tasks:
        states = suites.initial_states(task)
        assert states.shape[0] == suites.TRIALS and np.isfinite(states).all()
        assert len(np.unique(states.round(6), axis=0)) == suites.TRIALS


def test_evaluated_suites_have_four_tasks_each():
    assert [len(suites.suite(name).tasks) for name in EVALUATED] == [4, 4, 4, 4]


def test_goal_is_one_scene_that_only_the_instruction_tells_apart():
    texts = [task.bddl.read_text() for task in suites.suite("embedded_goal").tasks]
    assert len({text[text.index("(:regions") : text.index("(:obj_of_interest")] for text in texts}) == 1
    assert len({text[text.index("(:goal") :] for text in texts}) == 4


def test_combinations_trained_and_held_out_are_two_scenes_between_them():
    tasks = [task for name in ("embedded_compose", "embedded_compose_held") for task in suites.suite(name).tasks]
    texts = [task.bddl.read_text() for task in tasks]
    assert len({text[text.index("(:regions") : text.index("(:obj_of_interest")] for text in texts}) == 2
    assert len(tasks) == len(set(texts)) == len({task.language for task in tasks}) == 16
    by_scene = {text: states for text, task in zip(texts, tasks, strict=True) for states in [suites.initial_states(task)]}
    first, *others = [states for text, states in by_scene.items() if "wheel_can" in text]
    assert all(np.array_equal(first, states) for states in others), "what is asked for changes no initial state"


def test_left_and_right_are_one_scene_too():
    left, right = (layout for layout in layouts.LAYOUTS["embedded_spatial"] if "left" in layout.name or "right" in layout.name)
    assert left.places == right.places and left.goals != right.goals


def test_pretraining_shares_no_pair_and_no_scene_with_what_is_evaluated():
    def pairs(name):
        return {(thing.rsplit("_", 1)[0], where.rsplit("_", 1)[0]) for layout in layouts.LAYOUTS[name] for thing, where in layout.goals}

    def scenes(name):
        return {tuple(sorted(layout.places.items())) for layout in layouts.LAYOUTS[name]}

    for name in EVALUATED:
        assert not pairs("embedded_pretrain") & pairs(name)
        assert not scenes("embedded_pretrain") & scenes(name)


def test_changed_states_are_refused(tmp_path, monkeypatch):
    task = suites.suite("embedded_goal").tasks[0]
    for part in ("SHA256SUMS", "init/embedded_goal.npz"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes((suites.EMBEDDED / part).read_bytes())
    monkeypatch.setattr(suites, "EMBEDDED", tmp_path)
    assert len(suites.initial_states(task)) == suites.TRIALS
    with open(tmp_path / "init/embedded_goal.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(MissingAssets, match="SHA-256"):
        suites.initial_states(task)


def test_an_unknown_suite_gets_a_suggestion():
    with pytest.raises(UnknownName, match="did you mean 'embedded_goal'"):
        suites.suite("embeded_goal")


def test_look_at_points_the_camera_at_the_target():
    import mujoco

    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.array(look_at((1.0, 0.0, 1.0), (0.0, 0.0, 0.0))))
    x, y, z = rotation.reshape(3, 3).T
    np.testing.assert_allclose(-z, np.array([-1, 0, -1]) / np.sqrt(2), atol=1e-12)
    assert x[2] == pytest.approx(0) and y[2] > 0


@pytest.fixture(scope="module")
def benchmark():
    """hf-libero's own list of tasks."""
    bootstrap()
    from libero.libero import benchmark

    return benchmark.task_maps


@pytest.fixture
def real(benchmark, tmp_path, monkeypatch):
    """LIBERO's suites, as where its assets are."""
    (tmp_path / "scenes").mkdir()
    monkeypatch.setenv("DTR_LIBERO_ASSETS", str(tmp_path))
    return {name: suites.suite(name).tasks for name in LIBERO}


def test_libero_s_instructions_and_their_order_are_those_of_its_benchmark(benchmark, real):
    for name, tasks in real.items():
        assert [(task.name, task.language) for task in tasks] == [(task.name, task.language) for task in benchmark[name].values()]
        assert all(task.bddl.is_file() for task in tasks)
    assert len(benchmark["libero_90"]) == 90
    assert all(suites.instruction_in(name) == task.language for name, task in benchmark["libero_90"].items())
    other = [task for tasks in real.values() for task in tasks if task.language != suites._language(task.bddl)]
    assert len(other) == 25, "the line in the file is no instruction of LIBERO's"


def test_libero_s_public_demonstrations_are_told_the_same(real):
    """Their sentences are made of the name of the file of demonstrations (`LIBERO_Spatial_dataset_builder.py` behind
    openvla/modified_libero_rlds, from which the data sets in LeRobot's layouts come): all words after the last one with SCENE in it."""
    for task in (task for tasks in real.values() for task in tasks):
        words = f"{task.name}_demo.hdf5"[:-10].split("_")
        scenes = [k for k, word in enumerate(words) if "SCENE" in word]
        assert task.language == " ".join(words[scenes[-1] + 1 if scenes else 0 :])


def test_a_suite_s_digest_follows_what_is_told(monkeypatch):
    """Records under other words are no records of the suite. Ours carry theirs in their files."""
    assert {name: suites.suite_digest(name) for name in DIGESTS} == DIGESTS, "every cached rollout has it among its parameters"
    before = {name: suites.suite_digest(name) for name in LIBERO}
    assert len(set(before.values())) == 4 and all(sum(task.startswith(f"{name}/") for task in manifest()) == 10 for name in LIBERO)
    monkeypatch.setattr(suites, "instruction_in", lambda name: f"please {name}")
    assert all(suites.suite_digest(name) != before[name] for name in LIBERO)


def test_listing_libero_s_suites_imports_neither_torch_nor_a_simulator(real):
    code = "import sys\nfrom dtr.sim.suites import suite\nassert len(suite('libero_10').tasks) == 10\n"
    subprocess.run([sys.executable, "-c", f"{code}assert not {{'torch', 'mujoco', 'robosuite'}} & set(sys.modules)"], check=True)
