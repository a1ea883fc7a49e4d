"""Tokenizers of two scales behind one interface, statistics from demonstrations, and manifests that the configuration refuses."""

import copy
import re
from pathlib import Path

import hub_world as world
import numpy as np
import pytest
import yaml

from dtr.data.lerobot import read_lerobot
from dtr.errors import BadConfig, BadDemonstrations, DtrError, MissingAssets
from dtr.hub.importing import import_policy
from dtr.hub.manifest import read_entry, read_manifest, sources_of
from dtr.hub.statistics import measured
from dtr.policies.bounds import Bounds
from dtr.policies.tokenizer import FETCHED, PretrainedTokenizer, read_tokenizer
from dtr.recovery.batches import fitted
from dtr.workflow.config import check_config

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/workflow/fingerprints/inputs/data"
PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
PINNED = "0" * 40


def test_a_fetched_tokenizer_is_read_from_its_folder_and_nothing_is_downloaded(tmp_path, monkeypatch):
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    words = read_tokenizer({"kind": "pretrained", "source": "some/llama", "revision": PINNED})
    assert words == PretrainedTokenizer("some/llama", PINNED) and read_tokenizer(words.to_dict()) == words
    with pytest.raises(MissingAssets, match=rf"expected the tokenizer's files in work/hub/some/llama@{PINNED}.*`dtr fetch`"):
        words.encode("put the bowl")
    model = tokenizers.models.WordLevel({"<unk>": 0, "put": 1, "the": 2, "bowl": 3}, unk_token="<unk>")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    folder = FETCHED / f"some/llama@{PINNED}"
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}')
    assert PretrainedTokenizer("some/llama", PINNED).encode("put the bowl down") == [1, 2, 3, 0]


def test_a_checkpoint_brings_its_own_tokenizer_unless_another_is_named():
    hub = {key: value for key, value in world.HUB.items() if key != "tokenizer"}
    own, other = read_manifest("openvla_oft", hub), read_manifest("openvla_oft", {**hub, "tokenizer": {"id": "a/b", "revision": PINNED}})
    assert [s.id for s in own.sources] == [hub["id"]] and [s.id for s in other.sources] == [hub["id"], "a/b"]


def test_statistics_of_a_base_are_those_that_recovery_would_fit(tmp_path):
    data = read_lerobot(DATA)
    actions, state = measured([DATA], Bounds)
    processor = fitted(import_policy(world.entry(), world.write(tmp_path, world.tensors())).processor, data, np.arange(len(data)))
    assert (actions, state) == (processor.actions_bounds, processor.proprio_bounds) and actions.mask[-1] is False
    with pytest.raises(BadDemonstrations, match="or a LeRobot data set"):
        measured([tmp_path], Bounds)


def test_every_published_entry_of_the_paper_s_scale_reads():
    check_config(PAPER)
    fetched = {source.id for section in ("policies", "demos") for entry in PAPER[section].values() for source in sources_of(entry)}
    assert {"openvla/openvla-7b", "lerobot/pi05_base", "google/paligemma-3b-pt-224", "HuggingFaceVLA/libero"} <= fetched
    for section in ("policies", "demos"):
        for name, entry in PAPER[section].items():
            assert read_entry(str(ROOT / "config/paper.yaml"), name) == entry
    base = read_manifest("openvla_oft", PAPER["policies"]["openvla_oft"]["hub"])
    assert base.role == "base" and base.fresh["parts"] == ["action_head", "proprio_projector"]


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "pi05",
            {"prompt": "question"},
            "policies.pi05: lerobot/pi05_base: pi05 knows the prompt text or text_state or .*, got 'question'",
        ),
        ("gigabrain0", {"normalisation": "meanstd"}, "policies.gigabrain0: .* knows the normalisation q99, got 'meanstd'"),
        ("openvla_oft", {"role": "finetuned"}, "policies.openvla_oft: .* nothing of it can be fresh"),
        ("openvla_oft", {"statistics": {"data": "for"}}, "did you mean 'four'.*hub.statistics.data"),
        ("openvla_oft", {"horizon": 0}, "hub.horizon must be a whole number from 1 on, got 0: correct it"),
    ],
)
def test_a_wrong_manifest_stops_before_anything_runs(name, change, says):
    config = copy.deepcopy(PAPER)
    config["policies"][name]["hub"].update(change)
    with pytest.raises(DtrError, match=says):
        check_config(config)


def test_what_is_made_here_is_not_fetched():
    with pytest.raises(BadConfig, match="it is made here, and there is nothing to fetch"):
        sources_of({"class": "openvla_oft", "pretraining": {}})
    with pytest.raises(BadConfig, match=re.escape("--config must be JSON or the path of a JSON or YAML file, got 'nowhere.yaml'")):
        read_entry("nowhere.yaml", None)
