"""Drawing the two cameras of a scene, cheaply where fidelity to published numbers is not at stake.

A software GL (Mesa on the CPU) draws the stock scene in 34 to 42 ms at 64 px; most of that is antialiasing, shadows and the 136 000
triangles of the robot. The embedded suites go without these (see meshes.py); real LIBERO suites keep the stock picture.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from dtr.errors import MissingLibrary
from dtr.provenance import sha256_bytes
from dtr.sim.setup import GL_REMEDY, bootstrap

Array = np.ndarray[Any, np.dtype[Any]]
COSTLY_EFFECTS = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG")
TEST_SCENE = """<mujoco><worldbody><light pos="0 -1 1"/><camera name="c" pos="0 -1 0" xyaxes="1 0 0 0 0 1"/>
<geom type="plane" size="2 2 1" pos="0 0 -0.3" rgba="0.5 0.5 0.5 1"/><geom type="sphere" size="0.2" rgba="1 0 0 1"/></worldbody></mujoco>"""


class Cameras:
    """The one rendering context of this process and the cameras that are drawn in it."""

    living: ClassVar[bool] = False

    def __init__(self) -> None:
        self.context: Any = None
        self.ids: list[int] = []
        self.image_size = 0

    @classmethod
    def reserve(cls) -> Cameras:
        """Claim the process's rendering context. Raises RuntimeError when it is taken, MissingLibrary when none can be made."""
        if cls.living:
            raise RuntimeError("one rendering simulator a process: close the first one, or build this one with render=False")
        probe_gl()
        cls.living = True
        return cls()

    def attach(self, env: Any, names: Sequence[str], image_size: int, cheap: bool) -> None:
        """Draw the cameras `names` of `env` at `image_size` pixels; `cheap` leaves out antialiasing, shadows and effects."""
        import mujoco

        self.context, self.image_size = env.sim._render_context_offscreen, image_size
        atexit.register(self.release)  # before EGL itself goes, whatever the order in which the interpreter clears objects
        model = env.sim.model._model
        self.ids = [model.camera(name).id for name in names]
        self.context.gl_ctx.make_current()
        if cheap:
            model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
            model.vis.global_.offwidth = model.vis.global_.offheight = image_size
            self.context.con.free()
            self.context._set_mujoco_context_and_buffers()
            for effect in COSTLY_EFFECTS:
                self.context.scn.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{effect}")] = 0

    def draw(self) -> Array:
        """One image a camera: (cameras, H, W, 3) uint8, rotated by 180 degrees as the official evaluations do, which makes them upright."""
        size = self.image_size
        self.context.gl_ctx.make_current()
        images = np.empty((len(self.ids), size, size, 3), np.uint8)
        for image, camera in zip(images, self.ids, strict=True):
            self.context.render(size, size, camera_id=camera)
            image[...] = self.context.read_pixels(size, size)[::-1, ::-1]
        return images

    def release(self) -> None:
        """Free the context; the process may then make another one."""
        if self.context is not None:
            self.context.con.free()
            self.context.gl_ctx.free()
            self.context = None
            atexit.unregister(self.release)
        Cameras.living = False


def probe_gl() -> dict[str, str]:
    """Make a GL context, read its vendor, renderer and version, free it. Raises MissingLibrary where the driver gives none."""
    from robosuite.utils.binding_utils import GLContext

    try:
        context = GLContext(max_width=64, max_height=64, device_id=-1)
        context.make_current()
    except (ImportError, RuntimeError) as error:
        binding = os.environ.get("MUJOCO_GL")
        raise MissingLibrary(f"OpenGL through {binding} gives no context ({error}): {GL_REMEDY}, or try MUJOCO_GL=osmesa.") from error
    from OpenGL import GL

    names = {"vendor": GL.GL_VENDOR, "renderer": GL.GL_RENDERER, "version": GL.GL_VERSION}
    facts = {"binding": os.environ["MUJOCO_GL"]}
    facts |= {name: (GL.glGetString(value) or b"").decode() for name, value in names.items()}
    context.free()
    return facts


def draw_test_frame() -> dict[str, Any]:
    """Draw a red ball on grey with a bare MuJoCo scene: GL facts of `probe_gl`, the frame's SHA-256 and whether the ball is in it."""
    import mujoco

    bootstrap()
    facts: dict[str, Any] = dict(probe_gl())
    from robosuite.utils.binding_utils import MjRenderContextOffscreen, MjSim

    sim = MjSim.from_xml_string(TEST_SCENE)
    context = MjRenderContextOffscreen(sim, device_id=-1)
    context.render(64, 64, camera_id=0)
    image = context.read_pixels(64, 64)
    context.con.free()
    context.gl_ctx.free()
    red, corner = image[32, 32].astype(int), image[2, 2].astype(int)
    facts["drawn"] = bool(red[0] > red[1] + 40 and abs(corner[0] - corner[1]) < 40)
    facts["sha256"] = sha256_bytes(image.tobytes())
    facts["mujoco"] = mujoco.__version__
    return facts
