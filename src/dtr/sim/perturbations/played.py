"""A suite under a variant: tasks that carry the perturbation, and what the policy is told in each episode."""

from __future__ import annotations

from dataclasses import replace

from dtr.sim.perturbations.language import instructed, rewrite
from dtr.sim.perturbations.variant import Variant, generator
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
        text = instructed(mode, text, [other.language for other in suite.tasks], generator(mode, seed, suite.name, task.name, init_state))
    if perturbation is not None and perturbation.category == "language" and text:
        text = rewrite(text, perturbation, generator(str(perturbation), seed, suite.name, task.name, init_state))
    return text
