"""Drawing the two cameras of a scene, cheaply where fidelity to published numbers is not at stake.

A software GL (Mesa on the CPU) draws the stock scene in 34 to 42 ms at 64 px; most of that is antialiasing, shadows and the 136 000
triangles of the robot. The embedded suites go without these (see meshes.py); real LIBERO suites keep the stock picture.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from dtr.errors import MissingLibrary
from dtr.sim.setup import GL_REMEDY

Array = np.ndarray[Any, np.dtype[Any]]
COSTLY_EFFECTS = ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG")


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
        """Give the context up."""
        Cameras.living = False
        self.context = None


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
    facts = {name: (GL.glGetString(value) or b"").decode() for name, value in names.items()}
    context.free()
    return facts
