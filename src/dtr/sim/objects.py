"""What the embedded suites are built from: robosuite's own meshes and MuJoCo primitives, registered under LIBERO's names for things.

No LIBERO asset file is needed: groceries come from the robosuite wheel, blocks, crate and plate are boxes and cylinders
whose XML is written here. `register()` must follow `dtr.sim.setup.bootstrap()`; it may be called any number of times.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from dtr.sim.shapes import BLOCKS

ASSETS = Path(__file__).parent / "embedded" / "assets"
SCENE = ASSETS / "floor.xml"
PROBLEM = "embedded_floor_manipulation"
MESH_CELL_M = 0.012
"""Vertex-clustering cell of the robot's visual meshes: 136k faces become 16k, which a 64 px camera cannot tell apart."""

GROCERIES = ("milk", "cereal", "can", "bread")
"""Objects of the robosuite wheel; category `wheel_<name>`."""

RECEPTACLES = {"wood_crate": "contain_region", "blue_plate": "plate_region"}
"""Category of a receptacle -> the site of it that goals speak of."""

CAMERA_POSITION = (0.55, 0.0, 0.72)
CAMERA_TARGET = (-0.02, 0.0, 0.04)
CAMERA_FOVY_DEGREES = 38.0
"""The agent camera looks down at a workspace of about 50 x 60 cm, so that one of 64 pixels is one centimetre."""


def look_at(position: tuple[float, float, float], target: tuple[float, float, float]) -> tuple[float, float, float, float]:
    """Quaternion (w, x, y, z) of a MuJoCo camera, which looks along its own -z with x to the right, upright in the world."""
    import mujoco

    z = np.subtract(position, target)
    z /= np.linalg.norm(z)
    x = np.cross((0.0, 0.0, 1.0), z)
    x /= np.linalg.norm(x)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([x, np.cross(z, x), z], axis=1).ravel())
    w, qx, qy, qz = quaternion.tolist()
    return w, qx, qy, qz


def register() -> None:
    """Make the embedded objects, scene and problem known to LIBERO's registries."""
    import libero.libero.envs
    from libero.libero.envs.base_object import OBJECTS_DICT, register_object
    from libero.libero.envs.bddl_base_domain import TASK_MAPPING, register_problem
    from libero.libero.envs.regions import REGION_SAMPLERS, TableRegionSampler
    from robosuite.models.objects import MujocoXMLObject
    from robosuite.utils.mjcf_utils import xml_path_completion

    del libero  # imported for its side effect: it registers LIBERO's own problems
    if "wood_crate" in OBJECTS_DICT:
        return

    class EmbeddedObject(MujocoXMLObject):
        """An object of the embedded suites, upright and unrotated."""

        xml = ""
        wheel = False
        rotation, rotation_axis = (0.0, 0.0), "z"

        def __init__(self, name: str, joints: Any = ({"type": "free", "damping": "0.0005"},)) -> None:
            super().__init__(self.xml, name=name, joints=list(joints), obj_type="all", duplicate_collision_geoms=self.wheel)
            self.category_name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(self).__name__).lower()
            self.object_properties: dict[str, Any] = {"vis_site_names": {}}

    def add(category: str, xml: str, wheel: bool) -> None:
        name = "".join(word.capitalize() for word in category.split("_"))
        register_object(type(name, (EmbeddedObject,), {"xml": xml, "wheel": wheel}))

    for name in GROCERIES:
        add(f"wheel_{name}", xml_path_completion(f"objects/{name}.xml"), True)
    for category in (*BLOCKS, *RECEPTACLES):
        add(category, str(ASSETS / f"{category}.xml"), False)

    floor = TASK_MAPPING["libero_floor_manipulation"]  # `register_problem` returns None, so the class is only in this mapping

    class EmbeddedFloorManipulation(floor):  # type: ignore[misc,valid-type]
        """LIBERO's floor problem in a scene of ours, seen by a nearer camera."""

        def __init__(self, bddl_file_name: str, *args: Any, **kwargs: Any) -> None:
            kwargs["scene_xml"] = str(SCENE)  # an absolute path survives LIBERO's os.path.join with its asset folder
            kwargs["scene_properties"] = {"floor_style": "light-gray", "wall_style": "light-gray-plaster"}
            super().__init__(bddl_file_name, *args, **kwargs)

        def _setup_camera(self, mujoco_arena: Any) -> None:
            super()._setup_camera(mujoco_arena)
            mujoco_arena.set_camera(
                camera_name="agentview",
                pos=CAMERA_POSITION,
                quat=look_at(CAMERA_POSITION, CAMERA_TARGET),
                camera_attribs={"fovy": str(CAMERA_FOVY_DEGREES)},
            )

        def _load_model(self) -> None:
            super()._load_model()
            from dtr.sim.meshes import decimate_robot_meshes

            decimate_robot_meshes(self.model.root, MESH_CELL_M)

    EmbeddedFloorManipulation.__name__ = "Embedded_Floor_Manipulation"
    register_problem(EmbeddedFloorManipulation)

    class RangeAsWritten(TableRegionSampler):
        """LIBERO's sampler shrinks, and can invert, a BDDL range by the object's radius; this one keeps it as written."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, ensure_object_boundary_in_range=False, **kwargs)

    REGION_SAMPLERS[PROBLEM] = {"floor": RangeAsWritten}
