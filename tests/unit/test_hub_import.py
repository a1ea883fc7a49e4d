"""Official files become a policy file, or one sentence says why not."""

import json
import threading

import hub_world as world
import pytest
import torch
from safetensors.torch import save_file

from dtr.cli import run
from dtr.cost import config_digest
from dtr.errors import BadCheckpoint, BadConfig, DtrError, UnknownName
from dtr.hub.importing import import_policy
from dtr.policies.file import load_policy, save_policy
from dtr.policies.registry import build

EVEN = tuple(range(0, world.LANGUAGE, 2))


@pytest.fixture(scope="module")
def parts():
    return world.tensors()


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("whole"), parts)


def state(imported):
    return imported.policy.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_single_sharded_and_ddp_files_give_the_same_policy(parts, whole, tmp_path):
    single = import_policy(world.entry(), whole)
    sharded = import_policy(world.entry(), world.write(tmp_path, parts, shards=3, prefix=""))
    assert same(state(single), state(sharded)) and single.plan is None
    assert state(single)["dino.stack.blocks.23.qkv.weight"].equal(parts["weights"]["vision_backbone.featurizer.blocks.23.attn.qkv.weight"])
    assert state(single)["action.fc1.bias"].equal(parts["action_head"]["model.fc1.bias"])
    assert single.processor.actions_bounds == world.ACTIONS and single.processor.proprio_bounds == world.PROPRIO
    assert single.provenance["files"].keys() == {
        "model.safetensors",
        "dataset_statistics.json",
        "action_head--150000_checkpoint.pt",
        "proprio_projector--150000_checkpoint.pt",
    }
    assert not any(name.startswith("unused.") for name in state(single))
    carried = import_policy({**world.entry(), "model": {**world.CONFIG, "unused": True}}, whole)
    assert state(carried)["unused.lm_head.weight"].equal(parts["weights"]["language_model.lm_head.weight"])


def test_the_verb_writes_a_file_that_describes_itself(parts, tmp_path, capsys):
    folder = world.write(tmp_path / "official", parts | {"weights": world.without(parts["weights"], EVEN)})
    entry = world.entry(role="authors_recovered")
    (tmp_path / "c.json").write_text(json.dumps({"policies": {"mine": entry}}))
    out = tmp_path / "policy.safetensors"
    assert run(["import", "--config", str(tmp_path / "c.json"), "--name", "mine", "--files", str(folder), "--out", str(out)]) == 0
    assert "authors_recovered somebody/openvla-oft-libero" in capsys.readouterr().out
    loaded = load_policy(out)
    assert loaded.policy.config.language.kept == EVEN and same(loaded.policy.state_dict(), state(import_policy(entry, folder)))
    assert loaded.header["plan"]["cut"] == f"language-keep-{'_'.join(map(str, EVEN))}"
    assert loaded.header["plan"]["digest"] == config_digest(loaded.policy)
    assert loaded.header["provenance"]["hub"]["revision"] == world.HUB["revision"]
    assert "lacks blocks" not in capsys.readouterr().err


def test_blocks_numbered_anew_need_kept(parts, tmp_path):
    original = import_policy(
        world.entry(role="authors_recovered"),
        world.write(tmp_path / "a", parts | {"weights": world.without(parts["weights"], EVEN)}),
    )
    folder = world.write(tmp_path / "b", parts | {"weights": world.without(parts["weights"], EVEN, anew=True)})
    with pytest.raises(BadCheckpoint, match=r"16 of 32 blocks of language from 0 on.*say `kept`"):
        import_policy(world.entry(role="authors_recovered"), folder)
    anew = import_policy(world.entry(role="authors_recovered", kept={"language": list(EVEN)}), folder)
    assert same(state(original), state(anew)) and original.plan == anew.plan
    for kept in ([0, 1, 2], [*EVEN[:-1], 32]):
        with pytest.raises(BadCheckpoint, match="`kept` says that language has blocks"):
            import_policy(world.entry(role="authors_recovered", kept={"language": kept}), folder)
    with pytest.raises(UnknownName, match="did you mean 'language'"):
        import_policy(world.entry(role="authors_recovered", kept={"languag": [0]}), folder)


def test_a_role_that_does_not_fit_the_keys_is_refused(parts, whole, tmp_path):
    with pytest.raises(BadCheckpoint, match="lacks no block, so it is not authors_recovered"):
        import_policy(world.entry(role="authors_recovered"), whole)
    dropped = world.write(tmp_path, parts | {"weights": world.without(parts["weights"], EVEN)})
    with pytest.raises(BadCheckpoint, match=r"role finetuned but lacks blocks 1, 3, 5.* of language"):
        import_policy(world.entry(), dropped)


def test_a_base_without_an_action_head_gets_a_fresh_one(parts, tmp_path):
    """As the paper's recovery from openvla-7b must: bfloat16 as the rest, the same for the same seed, said in the header."""
    weights = {key: t.to(torch.bfloat16) for key, t in parts["weights"].items()}
    folder = world.write(tmp_path, {"weights": weights})
    hub = {"role": "base", "parts": {"weights": ["model.safetensors"]}}
    with pytest.raises(BadConfig, match=r"no action_head: name its files, or list it in `fresh`: it is then initialised here"):
        import_policy(world.entry(**hub), folder)
    fresh = {"parts": ["action_head", "proprio_projector"], "seed": 3}
    base = import_policy(world.entry(**hub, fresh=fresh), folder)
    drawn = build("openvla_oft", world.CONFIG, 3).state_dict()
    assert state(base)["action.fc1.weight"].equal(drawn["action.fc1.weight"].to(torch.bfloat16))
    assert state(base)["proprio.fc.0.weight"].dtype == state(base)["language.norm.weight"].dtype == torch.bfloat16
    assert base.provenance["fresh"] == fresh and not any(t.is_meta for t in state(base).values())
    with pytest.raises(BadConfig, match="can be fresh"):
        import_policy(world.entry(fresh=fresh), folder)


def first_shard(folder):
    return folder / "model-00001-of-00003.safetensors"


def a_key_too_many(folder, parts):
    save_file({**parts["weights"], "language_model.model.rotary.weight": torch.ones(2)}, folder / "model.safetensors")


def a_block_too_many(folder, parts):
    key = "language_model.model.layers.32.input_layernorm.weight"
    save_file({**parts["weights"], key: torch.ones(world.L)}, folder / "model.safetensors")


def a_key_too_few(folder, parts):
    save_file({k: t for k, t in parts["weights"].items() if k != "projector.fc2.bias"}, folder / "model.safetensors")


def another_shape(folder, parts):
    save_file({**parts["weights"], "projector.fc2.bias": torch.ones(world.L + 1)}, folder / "model.safetensors")


def another_depth_of_a_tower(folder, parts):
    save_file({k: t for k, t in parts["weights"].items() if ".featurizer.blocks.23." not in k}, folder / "model.safetensors")


def a_truncated_head(folder, parts):
    path = folder / "action_head--150000_checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-200])


def a_pickled_object(folder, parts):
    torch.save({"module.fc1.weight": threading.Event}, folder / "proprio_projector--150000_checkpoint.pt")


def optimizer_state_too(folder, parts):
    torch.save({"state": {"w": torch.ones(1)}, "step": 3}, folder / "proprio_projector--150000_checkpoint.pt")


def no_head(folder, parts):
    (folder / "action_head--150000_checkpoint.pt").unlink()


SINGLE = {
    a_key_too_many: r"'language_model.model.rotary.weight' in weights is no key of this model",
    a_block_too_many: r"the keys have block language.32, the model has 32",
    a_key_too_few: r"projector.fc.1.bias should be \(16,\) and is absent",
    another_shape: r"projector.fc.1.bias should be \(16,\) and is \(17,\)",
    another_depth_of_a_tower: r"lacks blocks 23 of vision.dino",
    a_truncated_head: "is truncated or no file of weights",
    a_pickled_object: "is truncated or no file of weights",
    optimizer_state_too: "must hold tensors by name and nothing else",
    no_head: r"no file action_head--\*_checkpoint.pt for action_head",
}


@pytest.mark.parametrize("harm", SINGLE)
def test_a_damaged_or_foreign_file_is_one_sentence(harm, parts, tmp_path):
    folder = world.write(tmp_path, parts)
    harm(folder, parts)
    with pytest.raises(BadCheckpoint, match=SINGLE[harm]):
        import_policy(world.entry(), folder)


def truncated(folder):
    first_shard(folder).write_bytes(first_shard(folder).read_bytes()[:-10])


def missing(folder):
    first_shard(folder).unlink()


def missing_without_index(folder):
    (folder / "model.safetensors.index.json").unlink()
    first_shard(folder).unlink()


def twice(folder):
    save_file({"projector.fc2.bias": torch.ones(world.L)}, folder / "model-extra.safetensors")


def another_index(folder):
    path = folder / "model.safetensors.index.json"
    value = json.loads(path.read_text())
    value["weight_map"]["projector.fc9.weight"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(value))


SHARDED = {
    truncated: "is truncated or no file of weights",
    missing: "fetch the missing shard",
    missing_without_index: "shard model-00001-of-00003.safetensors is missing",
    twice: "'projector.fc2.bias' is in .* and in model-extra",
    another_index: "has 'projector.fc9.weight' in model-00001",
}


@pytest.mark.parametrize("harm", SHARDED)
def test_shards_that_do_not_fit_are_one_sentence(harm, parts, tmp_path):
    folder = world.write(tmp_path, parts, shards=3)
    harm(folder)
    with pytest.raises(BadCheckpoint, match=SHARDED[harm]):
        import_policy(world.entry(), folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normalisation": "meanstd"}, "knows the normalisation q99, got 'meanstd'"),
        ({"prompt": "text_state"}, "knows the prompt question, got 'text_state'"),
        ({"horizon": 50}, "horizon of 50, the model has 8"),
        ({"role": "recovered"}, r"hub.role must be \"base\" or .*, got \"recovered\": correct it"),
        ({"revision": "main"}, r"hub.revision must be text of the form .*, got \"main\""),
        ({"kept": {"language": [0]}}, "of role finetuned is whole"),
        ({"statistics": {"file": "dataset_statistics.json", "key": "libero_spatial"}}, "did you mean 'libero_spatial_no_noops'"),
        ({"statistics": {"file": "stats.json", "key": "x"}}, "expected statistics in .*stats.json"),
        ({"statistics": {"data": "four"}}, "in numbers that it learnt: name its own `statistics`, or say base"),
        ({"role": "base", "statistics": {"data": "four"}}, "name them with --data"),
        ({"parts": {**world.HUB["parts"], "head": ["x"]}}, "the model has no part 'head'"),
    ],
)
def test_a_wrong_manifest_is_refused(change, says, whole):
    with pytest.raises(DtrError, match=says):
        import_policy(world.entry(**change), whole)


def test_what_the_checkpoint_states_of_itself_wins(parts, tmp_path):
    folder = world.write(tmp_path, parts)
    (folder / "config.json").write_text(json.dumps({"normalization_mapping": {"ACTION": "MEAN_STD", "STATE": "QUANTILES"}}))
    with pytest.raises(BadConfig, match="states MEAN_STD for ACTION, which is meanstd, the manifest says q99"):
        import_policy(world.entry(), folder)


def anonymous_bytes():
    """Memory of this process that no file stands behind."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_an_import_holds_no_copy_of_the_model(tmp_path):
    """200 MB of weights, read and written: what the process itself holds grows by a fraction."""
    vocab = 200 * 2**20 // (4 * world.L)
    shapes = world.shapes()
    weights = {key: torch.empty(s) for key, s in shapes["weights"].items()}
    weights |= {f"language_model.{key}.weight": torch.empty(vocab, world.L) for key in ("model.embed_tokens", "lm_head")}
    world.write(tmp_path, world.tensors() | {"weights": weights})
    del weights
    entry = {**world.entry(), "model": {**world.CONFIG, "language": {**world.CONFIG["language"], "vocab": vocab}}}
    highest, done = [before := anonymous_bytes()], threading.Event()

    def watch():
        while not done.wait(0.002):
            highest.append(anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    imported = import_policy(entry, tmp_path)
    save_policy(tmp_path / "policy.safetensors", imported.policy, imported.processor, imported.provenance, shard_bytes=2**26)
    done.set()
    watcher.join()
    assert (tmp_path / "policy.safetensors").exists() and max(highest) - before < 60 * 2**20
