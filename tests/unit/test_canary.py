"""The canary: what it plays, when it stops, and what it blames."""

import numpy as np
import pytest
from tiny_policy import tiny

from dtr.errors import BadCheckpoint
from dtr.rollout.canary import Watch, causes, judge, spread

WORDS = ["put the milk in the crate"]


def watched(actions: np.ndarray, text: str = WORDS[0]) -> Watch:
    watch = Watch(lambda requests: dict.fromkeys(requests, actions))
    watch({0: (None, text)})  # type: ignore[dict-item]
    return watch


def moving(scale: float = 0.4) -> np.ndarray:
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 7)) * scale
    actions[:, 6] = np.where(np.arange(40) < 20, -1.0, 1.0)
    return actions


def test_it_plays_first_middle_and_last_of_a_suite():
    assert spread(10) == (0, 5, 9) and spread(2) == (0, 1) and spread(1) == (0,)


@pytest.mark.parametrize(
    ("actions", "text", "blamed"),
    [
        (moving(), WORDS[0], r"the pictures \(image path exact\), or the prompt mode \('\{instruction\}'\)"),
        (moving(), "In: What action?", r"the prompt, of which the policy does not know .*what"),
        (np.sign(moving()), WORDS[0], r"the normalisation \(q99\): 100% of the translations are at their limit"),
        (moving(0.01), WORDS[0], r"the normalisation \(q99\): the arm hardly moves"),
        (np.abs(moving()), WORDS[0], r"the gripper rule \(threshold\): it never opens"),
    ],
)
def test_a_policy_that_is_misunderstood_stops_with_the_likely_cause(actions, text, blamed):
    _, processor = tiny(WORDS)
    likely = causes([watched(actions, text)], processor)
    with pytest.raises(BadCheckpoint, match=rf"succeeds in 1 of 6 episodes .*expected at least 34% .*likely: {blamed}"):
        judge({"embedded_goal": [True, False, False], "embedded_long": [False] * 3}, 0.34, likely, "p.safetensors")


def test_a_policy_that_is_understood_goes_on(capsys):
    judge({"embedded_goal": [True, False, True]}, 0.34, ["nothing"], "p.safetensors")
    assert "canary: 2 of 3 episodes succeeded (embedded_goal 2/3)" in capsys.readouterr().err
