"""The verb `score`: the same frames for the same seed, a record that validates, and clear answers to bad input."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cut_world
import numpy as np
import pytest
import torch

from dtr.data.dataset import Dataset
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.dropping.plan import resolve
from dtr.dropping.scores import Score, block_index, read_score
from dtr.errors import BadConfig, BadDemonstrations, BadRecord, UnknownName
from dtr.importance.calibration import Calibration, calibration_rows
from dtr.importance.gateprobe import gate_gradients, gateprobe
from dtr.importance.metrics import TOGETHER, evaluate
from dtr.importance.score import block_score, run
from dtr.importance.stability import run as run_stability
from dtr.policies.file import load_policy, save_policy
from dtr.provenance import read_json, write_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file and one rendered data set of 24 frames."""
    root, random = tmp_path_factory.mktemp("score"), np.random.default_rng(0)
    save_policy(root / "policy.safetensors", cut_world.policy(), cut_world.PROCESSOR, {})
    images = random.integers(0, 256, (24, 2, 28, 28, 3), dtype=np.uint8)
    state, actions = (random.uniform(-1, 1, (24, n)).astype(np.float32) for n in (8, 7))
    record = write_frames(root / "bowls", 0, Frames(images, state, actions, [12, 12], 0), 0, 0, 20)
    write_meta(root / "bowls", [record], ["put the bowl on the plate"], 20, {})
    return root


def scored(folder: Path, name: str = "score", **change: object) -> Path:
    """Run the verb."""
    fields = {"metric": ["gateprobe"], "granularity": None, "samples": 12, "seed": 0, "batch": 5, "device": "cpu", "image_size": None}
    fields |= {"processes": 1, "against": [], "levels": None, "resamples": 20, "pictures": folder / "pictures", "precision": None} | change
    out = folder / f"{name}.json"
    run(argparse.Namespace(policy=folder / "policy.safetensors", data=[folder / "bowls"], out=out, **fields))
    return out


def test_record(folder: Path) -> None:
    score = read_score(scored(folder))
    assert (score.metric, score.policy, score.samples, score.seed, score.calibration) == ("gateprobe", "openvla_oft", 12, 0, ("bowls",))
    assert score.source == resolve("none", load_policy(folder / "policy.safetensors").policy).source
    assert len(score.blocks) == 4 + 5 + 6 + 2
    dead = {name for name, block in score.blocks.items() if block.dead}
    assert dead == {"vision.dino.3", "vision.siglip.4"} == {name for name, block in score.blocks.items() if block.score == 0}
    assert all(block.standard_error > 0 for name, block in score.blocks.items() if name not in dead)
    assert score.order("vision")[:2] == ["vision.siglip.4", "vision.dino.3"], "of equal scores the deeper block goes first"
    assert read_json(folder / "score.json")["order"]["language"] == score.order("language")
    assert Score.from_json(score.to_json()) == score


def test_same_seed_same_bytes_and_another_seed_other_frames(folder: Path) -> None:
    first = scored(folder, "a").read_bytes()
    assert scored(folder, "b").read_bytes() == first
    assert scored(folder, "c", seed=1).read_bytes() != first


def test_batch_size_changes_nothing_but_rounding(folder: Path) -> None:
    small, large = (read_score(scored(folder, f"batch{n}", batch=n)) for n in (3, 12))
    for name, block in small.blocks.items():
        assert block.score == pytest.approx(large.blocks[name].score, rel=1e-4, abs=1e-8)
        assert block.standard_error == pytest.approx(large.blocks[name].standard_error, rel=1e-3, abs=1e-8)


def test_leave_one_out(folder: Path) -> None:
    score = read_score(scored(folder, "loo", metric=["leave_one_out"]))
    assert score.metric == "leave_one_out"
    assert any(block.score > 0 for block in score.blocks.values())


def test_mean_and_standard_error_by_hand() -> None:
    block = block_score(torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64), dead=False)
    assert block.score == 3.0
    assert block.standard_error == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3) / 2)


def test_mean_is_over_samples_not_batches() -> None:
    """Batches of 1 and 3 samples weigh 1 and 3."""
    policy, whole = cut_world.policy(), cut_world.batch()
    uneven = gateprobe(policy, Calibration.of([cut_world.rows(whole, [0]), cut_world.rows(whole, [1, 2, 3])]))
    for name, gradient in gate_gradients(policy, whole).items():
        assert block_score(uneven[name], False).score == pytest.approx(gradient.abs().mean().item(), rel=1e-4, abs=1e-8)


def test_several_scores_in_one_command(folder: Path) -> None:
    """Names, blocks and values are those of each alone, and a cut of parts finds the scores of parts."""
    many = scored(folder, "many", metric=["all"], granularity=["block", "mlp"])
    assert {path.name for path in many.iterdir()} == {f"{name}{end}.json" for name in TOGETHER for end in ("", ".mlp")}
    assert (many / "gateprobe.json").read_bytes() == scored(folder, "alone").read_bytes()
    assert (many / "taylor.mlp.json").read_bytes() == scored(folder, "alone", metric=["taylor.mlp"]).read_bytes()
    score = read_score(many / "gateprobe.mlp.json")
    assert set(score.blocks) == set(cut_world.policy().gates("block", ["vision.dino", "vision.siglip", "language"]))
    plan = resolve(
        "language-gateprobe-2-mlp+language-gateprobe-1", cut_world.policy(), {s.metric: s for s in map(read_score, many.iterdir())}
    )
    whole = read_score(many / "gateprobe.json").order("language")[:1]
    assert plan.dropped["language"] == tuple(block_index(name) for name in whole)
    parts = {block_index(name) for name in score.order("language")[:2]} - set(plan.dropped["language"])
    assert set(plan.parts["mlp"]["language"]) == parts and set(plan.scores) == {"gateprobe", "gateprobe.mlp"}
    spans = read_score(many / "cossim_contiguous.json").blocks
    assert [len(spans[f"language.{i}"].spans) for i in range(6)] == [6, 5, 4, 3, 2, 1]
    assert not read_score(many / "cossim.json").blocks["language.0"].spans


def test_stability(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = scored(folder, "other", seed=1)
    said = capsys.readouterr().out
    assert "gateprobe on bowls:" in said and "  action, 1 dropped: " in said and "of them again" in said
    fields = {"samples": 12, "seed": 0, "batch": 5, "device": "cpu", "image_size": None, "processes": 1, "pictures": folder / "pictures"}
    fields |= {"metric": "gateprobe", "against": [other], "levels": [3], "resamples": 20, "precision": None}
    out = folder / "stability.json"
    run_stability(argparse.Namespace(policy=folder / "policy.safetensors", data=[folder / "bowls"], out=out, **fields))
    record = read_json(out)
    assert [level["component"] for level in record["levels"]] == ["vision", "language"], "two blocks of the head cannot lose three"
    vision = record["levels"][0]
    assert len(vision["dropped"]) == 3 and {"vision.dino.3", "vision.siglip.4"} < set(vision["dropped"])
    assert vision["probability"]["vision.dino.3"] == 1 and sum(vision["probability"].values()) == pytest.approx(3)
    assert {level["against"][0] for level in record["against"]} == {"bowls"}
    assert all(0 <= level["overlap"] <= 1 for level in record["against"])


def frames(n: int) -> Dataset:
    zeros = np.zeros((n, 8), np.float32)
    return Dataset(np.zeros((n, 2, 4, 4, 3), np.uint8), zeros, zeros[:, :7], np.arange(n), np.zeros(n, np.int64), ("a",))


def test_frames_are_drawn_once_each_and_by_the_seed() -> None:
    data = frames(50)
    rows = calibration_rows(data, 20, 3)
    assert len(set(rows.tolist())) == 20
    assert np.array_equal(rows, calibration_rows(data, 20, 3))
    assert not np.array_equal(rows, calibration_rows(data, 20, 4))
    assert np.array_equal(calibration_rows(data, 50, 0), np.arange(50))


def test_bad_input(folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'gateprobe'"):
        scored(folder, metric=["gatprobe"])
    with pytest.raises(BadDemonstrations, match="expected 99 calibration frames, but the data has 24"):
        scored(folder, samples=99)
    with pytest.raises(BadConfig, match="at least 2"):
        scored(folder, samples=1)
    with pytest.raises(UnknownName, match="did you mean 'fisher'"):
        evaluate(cut_world.policy(), Calibration.of([]), ["fischer"])
    with pytest.raises(UnknownName, match="did you mean 'mlp'"):
        scored(folder, granularity=["mpl"])
    with pytest.raises(BadConfig, match="at least 1"):
        scored(folder, levels=[0])


def test_tampered_record(folder: Path) -> None:
    path = scored(folder, "tampered")
    value = dict(read_json(path))
    for change in ({"samples": 0}, {"metric": "tailor"}, {"blocks": {}}, {"extra": 1}, {"order": {"legs": []}}):
        write_json(path, value | change)
        with pytest.raises(BadRecord, match="is no score"):
            read_score(path)
    path.write_text("{")
    with pytest.raises(BadRecord, match="cannot be read"):
        read_score(path)
