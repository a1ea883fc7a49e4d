"""Upstream's files of statistics, both kinds of normalisation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import hub_flow_world as world
import numpy as np
import pytest
from safetensors.numpy import save_file

from dtr.data.lerobot import read_lerobot
from dtr.errors import BadCheckpoint, BadConfig, UnknownName
from dtr.hub.statistics import measured, read_statistics_file
from dtr.policies.bounds import KINDS, Bounds, Moments, read_statistics

DATA = Path(__file__).resolve().parents[2] / "tests/workflow/fingerprints/inputs/data"
SIZES = (7, 8)
LEROBOT = {"observation.state": world.STATS["state"], "action": world.STATS["actions"]}


def test_both_kinds_by_hand_and_back() -> None:
    x, bounds = [3.0, 5.0], Bounds((1.0, 0.0), (5.0, 1.0), (True, False))
    np.testing.assert_allclose(bounds.normalise(x, clip=False, epsilon=0), [0.0, 5.0])
    moments = Moments((1.0, 0.0), (4.0, 1.0), (True, False))
    np.testing.assert_allclose(moments.normalise(x, epsilon=0), [0.5, 5.0])
    values = np.random.default_rng(0).normal(size=(50, 2))
    for numbers in (bounds, moments):
        for epsilon in (1e-8, 1e-6):
            back = numbers.restore(numbers.normalise(values, clip=False, epsilon=epsilon), epsilon=epsilon)
            np.testing.assert_allclose(back, values, atol=1e-14)
        assert read_statistics(json.loads(json.dumps(numbers.to_dict()))) == numbers
    with pytest.raises(BadConfig, match="mean, std and mask must have one length, got 1, 2, 1"):
        Moments((0.0,), (1.0, 1.0), (True,))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_measured_statistics_are_those_of_the_numbers(kind: str) -> None:
    data = read_lerobot(DATA)
    actions, state = measured([DATA], KINDS[kind])
    rows = {"q99": lambda x: np.quantile(x, [0.01, 0.99], axis=0), "meanstd": lambda x: np.array([x.mean(0), x.std(0)])}[kind]
    for found, values in ((actions, data.actions), (state, data.state)):
        np.testing.assert_allclose([getattr(found, name) for name in found.numbers], rows(values.astype(np.float64)))
    assert actions.mask[-1] is False


def written(folder: Path, form: str) -> tuple[Path, str | None]:
    """The same numbers in one of upstream's forms: its path and the key in it."""
    path = folder / ("stats.safetensors" if form == "normaliser" else "stats.json")
    if form == "normaliser":
        arrays = {f"{what}.{name}": np.array(numbers) for what, values in LEROBOT.items() for name, numbers in values.items()}
        save_file(arrays, path)
        return path, None
    wide = world.padded(world.STATS)
    forms = {
        "openpi": {"norm_stats": world.STATS},
        "padded": {"norm_stats": {"observation.state": wide["state"], "action": wide["actions"]}},
        "lerobot": LEROBOT,
        "openvla": {"suite": {"action": world.STATS["actions"], "proprio": world.STATS["state"]}},
    }
    path.write_text(json.dumps(forms[form]))
    return path, "suite" if form == "openvla" else None


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("form", ["openpi", "padded", "lerobot", "openvla", "normaliser"])
def test_every_form_gives_the_same_numbers(form: str, kind: str, tmp_path: Path) -> None:
    actions, state = read_statistics_file(*written(tmp_path, form), KINDS[kind], SIZES)
    for found, values in ((actions, world.STATS["actions"]), (state, world.STATS["state"])):
        for name in found.numbers:
            np.testing.assert_allclose(getattr(found, name), values[name])
        assert all(found.mask) and found.kind == kind


def refused(tmp_path: Path, values: object, kind: type = Bounds, key: str | None = None) -> str:
    """The sentence about these values."""
    path = tmp_path / "stats.json"
    path.write_text(json.dumps(values))
    with pytest.raises((BadCheckpoint, UnknownName)) as error:
        read_statistics_file(path, key, kind, SIZES)
    return str(error.value)


def test_a_file_of_the_other_kind_or_of_other_numbers_is_refused(tmp_path: Path) -> None:
    moments = {what: {name: values[name] for name in ("mean", "std")} for what, values in LEROBOT.items()}
    assert "gives no q01 and q99 of action" in refused(tmp_path, moments)
    bounds = {what: {name: values[name] for name in ("q01", "q99")} for what, values in LEROBOT.items()}
    assert "gives no mean and std of action" in refused(tmp_path, bounds, Moments)
    assert "gives no q01 and q99 of state (no state)" in refused(tmp_path, {"action": LEROBOT["action"]})
    longer = {**LEROBOT, "action": {name: [*numbers, 0.5] for name, numbers in LEROBOT["action"].items()}}
    longer["action"]["q01"][-1] = 0.0
    assert "the statistics have 8 action numbers, the model 7" in refused(tmp_path, longer)
    endless = {**LEROBOT, "action": {**LEROBOT["action"], "q99": [float("inf")] * 7}}
    assert "must be finite" in refused(tmp_path, endless)
    assert "did you mean 'spatial'" in refused(tmp_path, {"spatial": {}}, key="spatia")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(BadCheckpoint, match="expected statistics in"):
        read_statistics_file(tmp_path / "broken.safetensors", None, Bounds, SIZES)


def test_statistics_of_action_minus_state_are_refused(tmp_path: Path) -> None:
    """As lingbot-vla's libero.json: a mean rotation of -2.97 where the state's is 2.97."""
    wrong = world.padded(world.STATS)
    wrong["actions"]["mean"][3] = -2.971
    said = refused(tmp_path, {"norm_stats": wrong}, Moments)
    assert "statistics of actions up to 2.97, but actions lie in [-1, 1]" in said and "measure them on demonstrations" in said
