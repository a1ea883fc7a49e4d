"""Decimated visual meshes: coarser, in place, the same bytes whoever builds them, and without effect on states."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtr.sim import meshes
from dtr.sim.setup import bootstrap
from dtr.sim.simulator import Simulator
from dtr.sim.suites import initial_states, suite

CELL_M = 0.012


@pytest.fixture(scope="module")
def panda_mesh():
    bootstrap()
    import robosuite

    folder = Path(robosuite.__path__[0]) / "models/assets/robots/panda"
    return max(folder.rglob("link2_vis*"), key=lambda file: file.stat().st_size)


def test_clustering_keeps_the_shape_within_a_cell(panda_mesh):
    vertices, faces = meshes.load_mesh(panda_mesh)
    coarse, coarse_faces = meshes.cluster(vertices, faces, CELL_M)
    assert 20 < len(coarse_faces) < len(faces) / 4
    assert len(np.unique(coarse_faces)) <= len(coarse)
    assert np.abs(coarse.min(0) - vertices.min(0)).max() < CELL_M
    assert np.abs(coarse.max(0) - vertices.max(0)).max() < CELL_M


def test_clustering_by_hand():
    vertices = np.array([[0.1, 0.1, 0.0], [0.3, 0.1, 0.0], [1.5, 0.0, 0.0], [0.0, 1.5, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 2, 3]])
    coarse, coarse_faces = meshes.cluster(vertices, faces, 1.0)
    assert coarse.tolist() == [[0.2, 0.1, 0.0], [0.0, 1.5, 0.0], [1.5, 0.0, 0.0]]
    assert coarse_faces.tolist() == [[0, 2, 1]]  # the first has lost a corner, the last is the second again


def test_processes_that_build_one_copy_at_once_agree(panda_mesh, tmp_path):
    code = (
        f"from pathlib import Path; from dtr.sim.meshes import decimated_copy; print(decimated_copy(Path({str(panda_mesh)!r}), {CELL_M}))"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(meshes.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {worker.communicate(timeout=60)[0].strip() for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(paths) == 1
    (copy,) = paths
    assert [file.name for file in Path(copy).parent.iterdir()] == [Path(copy).name], "no temporary file is left"
    expected = meshes.decimated_copy(panda_mesh, CELL_M)
    assert hashlib.sha256(Path(copy).read_bytes()).digest() == hashlib.sha256(expected.read_bytes()).digest()


def test_states_do_not_depend_on_visual_meshes(monkeypatch):
    task = suite("embedded_object").tasks[0]

    def play():
        simulator = Simulator(task, render=False)
        simulator.reset(initial_states(task)[0], 0)
        for _ in range(10):
            simulator.step(np.array([0.5, 0.5, -1.0, 0.0, 0.1, 0.0, 1.0]))
        faces = simulator.model.nmeshface
        simulator.close()
        return simulator.state(), faces

    coarse, few = play()
    monkeypatch.setattr(meshes, "decimate_robot_meshes", lambda root, cell_m: None)
    full, many = play()
    assert few < many / 4
    assert np.array_equal(coarse, full)
