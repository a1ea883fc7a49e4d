"""A suite under a variant: tasks that carry the perturbation, and what the policy is told in each episode."""

from __future__ import annotations

from dataclasses import replace

from dtr.sim.perturbations.language import instructed, rewrite
from dtr.sim.perturbations.variant import Variant, generator
from dtr.sim.scenes import SILENT, Goal, possible, scene
from dtr.sim.suites import Suite, Task


def under(suite: Suite, variant: Variant) -> Suite:
    """The suite with the variant on it and on its tasks; unchanged when there is nothing to change."""
    perturbation = variant.perturbation
    if perturbation is None or perturbation.category == "language":  # what is told changes no scene
        return replace(suite, variant=variant)
    return replace(suite, variant=variant, tasks=tuple(replace(task, perturbation=str(perturbation)) for task in suite.tasks))


def told(suite: Suite, task: Task, seed: int, init_state: int) -> str:
    """What the policy is told in this episode: the task's own instruction, unless the suite's variant says otherwise."""
    mode, perturbation, text = suite.variant.instruction, suite.variant.perturbation, task.language
    if mode is not None:
        others = [other.language for other in (alternatives(suite, task) if mode == "swapped" else ()) or suite.tasks]
        text = instructed(mode, text, others, generator(mode, seed, suite.name, task.name, init_state))
    if perturbation is not None and perturbation.category == "language" and text:
        text = rewrite(text, perturbation, generator(str(perturbation), seed, suite.name, task.name, init_state))
    return text


def alternatives(suite: Suite, task: Task) -> list[Task]:
    """The tasks of the suite whose instructions could be meant in the scene of `task`, and whose goals can be watched there without a
    change to the picture; none where there is one goal only."""
    return [other for other in suite.tasks if possible(task, other) and all(name in SILENT for name, *_ in scene(other.bddl).goal)]


def meant(suite: Suite, task: Task, seed: int, init_state: int) -> tuple[str, Goal] | None:
    """The other task whose instruction is told in this episode, with its goal. None where nothing is swapped or the scene allows nothing
    else: then what is told is any other task's, and cannot be followed."""
    if suite.variant.instruction != "swapped":
        return None
    text = told(replace(suite, variant=Variant(None, "swapped")), task, seed, init_state)
    return next(((other.name, scene(other.bddl).goal) for other in alternatives(suite, task) if other.language == text), None)
