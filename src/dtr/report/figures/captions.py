"""One caption a figure, for the report's page and for Snakemake's report alike (rules/captions)."""

from __future__ import annotations

CAPTIONS = {
    "frontier": "Success after recovery against the FLOPs that are kept, with 95 % Clopper-Pearson intervals (noise of evaluation only). "
    "Hollow: the paper's numbers, of another scale. The axis leaves out what is empty. (+k): so many more arms kept the same blocks, so "
    "they are the same policy, and the paper's mark is the first one's.",
    "tasks": "Successes of every arm on every task. An average hides which tasks were lost. (+k): so many more arms kept the same blocks, "
    "so they are the same policy.",
    "scores": "Importance of every block by every metric that was scored, each divided by its component's largest score. Mean over "
    "the calibration samples with one standard error. Marks instead of bars: a logarithmic axis, since a linear one would hide a score "
    "that differs from 0 by more than its standard error (symlog where scores have both signs: linear between dotted lines, within which "
    "none does). On grey: the half of the component that would go first. Crossed blocks are dead: no action depends on them, so dropping "
    "them is free and shows nothing.",
    "curves": "Loss on held-out demonstrations over the steps of recovery. A low loss is no success rate: compare with the table. (+k): so "
    "many more arms kept the same blocks, and share the training.",
    "strength": "Success against the level of each perturbation, with 95 % Clopper-Pearson intervals (noise of evaluation only). Levels of "
    "different categories are not comparable, and arms are drawn side by side.",
    "reported": "The paper's own numbers. Nothing of it was run here: the real robot's data are not public (Figures 2 and 3), RoboTwin "
    "needs an environment of its own (Figure 4, docs/robotwin.md). A question mark is a number that is not known to us.",
    "costs": "Where parameters and FLOPs lie, by component and cut: what a component costs bounds what dropping it can save. "
    "Other: projectors, and released weights that no action depends on. (+k): so many more cuts left the same blocks.",
    "language_pressure": "Success (filled: the task's own goal was reached) and following (hollow: the goal of what was said was reached) "
    "with 95 % Clopper-Pearson intervals, by kind of task, cut and instruction. Right: both are one. Blank: there is nothing to follow. A "
    "star: differs from the undropped policy on the same initial states, of the same data where there is one (exact McNemar, p below 0.05, "
    "not corrected).",
    "failures": "Last pictures of failed episodes, spread over the tasks, played once more.",
    "failures-cut": "How a cut policy fails: last pictures of failed episodes, spread over the tasks, played once more. Of all cuts of the "
    "policy it is the one with the lowest success rate on this suite above 0, or one of rate 0 where no cut succeeds.",
}

SETS = {
    "scene": "(a) the scene alone determines the goal",
    "instruction": "(b) the instruction alone determines it",
    "combinations": "(c) combinations of words seen in training",
    "held_out": "(c) held-out combinations of the same words",
}
"""Sets of tasks of the control of language as people read them; others are shown as they are."""


def caption(name: str) -> str:
    """The caption of a figure by its file's name: `scores-pi05`, `failures-cut.pi05.long`."""
    kind = name.split(".")[0]
    return CAPTIONS[kind if kind in CAPTIONS else kind.split("-")[0]]
