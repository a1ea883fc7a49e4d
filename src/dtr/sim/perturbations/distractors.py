"""Things that stand by: a task's BDDL text with more objects than its goal needs. They get no place there, so that the sampler's draws, and
with them the poses of fixtures, stay those of the task; `layout` puts them down.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from dtr.provenance import atomic_path, sha256_bytes
from dtr.sim.perturbations.layout import PREFIX
from dtr.sim.perturbations.variant import generator
from dtr.sim.setup import cache_dir
from dtr.sim.suites import Task

EMBEDDED = ("wheel_milk", "wheel_cereal", "wheel_can", "wheel_bread", "green_block", "red_block", "purple_block", "yellow_block")
LIBERO = ("alphabet_soup", "cream_cheese", "tomato_sauce", "butter", "chocolate_pudding", "orange_juice", "ketchup", "popcorn")
"""Small, upright things of LIBERO-Object and LIBERO-100."""


def with_distractors(task: Task, count: int) -> Task:
    """The task with `count` more objects of categories that it does not hold, the same ones in all of its episodes."""
    if count == 0:
        return task
    text = task.bddl.read_text(encoding="utf-8")
    known = EMBEDDED if task.embedded else LIBERO
    free = [category for category in known if not re.search(rf"-\s*{category}\b", text)]
    chosen = generator("distractors", task.suite, task.name).permutation(free)[:count]
    lines = "".join(f"\n    {PREFIX}_{k} - {category}" for k, category in enumerate(chosen, 1))
    edited = text.replace("(:objects", f"(:objects{lines}", 1).encode()
    path: Path = cache_dir("bddl") / sha256_bytes(edited)[:16] / task.bddl.name
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_bytes(edited)
    return replace(task, bddl=path)
