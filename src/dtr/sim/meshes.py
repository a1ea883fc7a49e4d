"""Decimated copies of the robot's visual meshes, for the embedded suites only.

Vertex clustering: vertices that fall into one cube of a grid become their mean, triangles that lose a corner vanish. Panda's 136 000
visual triangles become 16 000 at a grid of 12 mm. Collision meshes are not touched, so states stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from dtr.provenance import sha256_bytes
from dtr.sim.setup import cache_dir

Array = np.ndarray[Any, np.dtype[Any]]
ROBOT_FOLDERS = ("/robots/panda/", "/grippers/", "/mounts/")
FEWEST_FACES = 200
"""Meshes with fewer triangles are left alone."""


def decimate_robot_meshes(root: Element, cell_m: float) -> None:
    """Point the visual meshes of the robot in a model's XML `root` at copies decimated on a grid of `cell_m` metres.

    Copies are built once and cached per user; processes that build one at the same time write the same bytes.
    """
    visual = {geom.get("mesh") for geom in root.iter("geom") if geom.get("group") == "1"}
    for mesh in root.iter("mesh"):
        file = mesh.get("file", "")
        if mesh.get("name") in visual and any(folder in file for folder in ROBOT_FOLDERS):
            mesh.set("file", str(decimated_copy(Path(file), cell_m)))


def decimated_copy(file: Path, cell_m: float) -> Path:
    """The cached decimated copy of one mesh file; the file itself when it is already coarse."""
    key = sha256_bytes(file.read_bytes() + f"clustering 2, cell {cell_m:.6f} m".encode())[:24]
    copy = cache_dir("meshes") / f"{file.stem}-{key}.stl"
    if copy.is_file():
        return copy
    vertices, faces = load_mesh(file)
    if len(faces) < FEWEST_FACES:
        return file
    coarse = cluster(vertices, faces, cell_m)
    while len(coarse[1]) < FEWEST_FACES // 10:  # a part smaller than a few cells would collapse to nothing
        cell_m /= 2
        coarse = cluster(vertices, faces, cell_m)
    write_stl(copy, *coarse)
    return copy


def load_mesh(file: Path) -> tuple[Array, Array]:
    """Vertices (V, 3) in metres in the file's own frame and triangles (F, 3), through MuJoCo's loader."""
    import mujoco

    spec = mujoco.MjSpec()
    mesh = spec.add_mesh(name="mesh", file=str(file))
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    geom = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH)
    geom.meshname = "mesh"
    model = spec.compile()
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[0])  # MuJoCo moves a mesh to its centre of mass and principal axes
    vertices = np.array(model.mesh_vert, np.float64).reshape(-1, 3) @ rotation.reshape(3, 3).T + model.mesh_pos[0]
    return vertices, np.array(model.mesh_face).reshape(-1, 3)


def cluster(vertices: Array, faces: Array, cell_m: float) -> tuple[Array, Array]:
    """Vertex clustering: (V, 3), (F, 3) to (V', 3), (F', 3) with V' the number of occupied cells."""
    cells = np.floor(vertices / cell_m).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    count = np.bincount(cell)
    means = np.stack([np.bincount(cell, vertices[:, axis]) / count for axis in range(3)], axis=1)
    corners = cell[faces]
    whole = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 0] != corners[:, 2])
    corners = corners[whole]
    first = np.unique(np.sort(corners, axis=1), axis=0, return_index=True)[1]
    return means, corners[np.sort(first)]


def write_stl(path: Path, vertices: Array, faces: Array) -> None:
    """A binary STL, atomically."""
    triangles = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    triangles["corners"] = vertices[faces]
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # unique: threads and processes may race
    with os.fdopen(handle, "wb") as file:
        file.write(b"\0" * 80 + np.uint32(len(faces)).tobytes() + triangles.tobytes())
    os.replace(temporary, path)
