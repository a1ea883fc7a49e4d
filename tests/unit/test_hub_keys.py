"""Key maps: wrappers, tied weights, and the manifest of the full-size model, none of which is in memory."""

import resource
from dataclasses import dataclass
from math import prod

import hub_world as world
import pytest
import torch
from torch import nn

from dtr.dropping.plan import resolve
from dtr.errors import BadCheckpoint
from dtr.hub import export
from dtr.policies.checkpoint import KeyMap, Part, Tied, import_weights
from dtr.policies.openvla_oft_config import FULL_SIZE
from dtr.policies.openvla_oft_keys import KEYS
from dtr.policies.registry import skeleton

HEAD, WORDS = "vlm.lm_head.weight", "vlm.model.embed_tokens.weight"
PAIRS = ((HEAD, "words.weight"), ("vlm.layers.{i}.q.{w}", "blocks.{i}.q.{w}"))


class Tiny(nn.Module):
    """A table of words and two blocks."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 3)
        self.blocks = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(3, 3)}) for _ in range(2))

    def stacks(self):
        return {}


@dataclass
class File:
    """A checkpoint of `Tiny`."""

    tensors: dict

    @classmethod
    def of(cls, names=(HEAD,), prefix=""):
        tensors = {prefix + name: torch.arange(15.0).reshape(5, 3) for name in names}
        for i in range(2):
            tensors |= {f"{prefix}vlm.layers.{i}.q.weight": torch.full((3, 3), float(i)), f"{prefix}vlm.layers.{i}.q.bias": torch.zeros(3)}
        return cls(tensors)


def shapes_of(policy, key_map):
    """Part -> official key -> shape of all that an export writes."""
    parts = export.official(policy, key_map, consecutive=False)
    return {part: {key: tuple(tensor.shape) for key, tensor in tensors.items()} for part, tensors in parts.items()}


def key_map(**change):
    return KeyMap({"weights": Part(PAIRS, tied=(Tied(WORDS, HEAD, **change),))})


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model.", "_orig_mod.model."])
@pytest.mark.parametrize("names", [(HEAD,), (WORDS,), (HEAD, WORDS)])
def test_wrapped_keys_and_tied_words_fill_the_same_weights(prefix, names):
    policy = Tiny()
    import_weights(policy, key_map(), {"weights": File.of(names, prefix).tensors})
    assert policy.words.weight.equal(torch.arange(15.0).reshape(5, 3)) and policy.blocks[1]["q"].weight.eq(1).all()


def test_tied_words_that_differ_are_refused():
    tensors = File.of((HEAD, WORDS)).tensors
    tensors[WORDS] = tensors[WORDS] + 1
    with pytest.raises(BadCheckpoint, match="are one weight and differ"):
        import_weights(Tiny(), key_map(), {"weights": tensors})


def test_words_under_no_name_are_missing():
    with pytest.raises(BadCheckpoint, match=r"words.weight should be \(5, 3\) and is absent"):
        import_weights(Tiny(), key_map(), {"weights": File.of(()).tensors})


def test_a_key_outside_of_the_wrapper_is_unknown():
    tensors = File.of(prefix="model.").tensors
    tensors["step"] = torch.zeros(1)
    with pytest.raises(BadCheckpoint, match="is no key of this model"):
        import_weights(Tiny(), key_map(), {"weights": tensors})


def test_export_writes_the_second_name_where_upstream_does():
    assert set(export.official(Tiny(), key_map(), consecutive=False)["weights"]) == set(File.of().tensors)
    both = KeyMap({"weights": Part(PAIRS, prefix="model.", tied=(Tied(WORDS, HEAD, written=True),))})
    weights = export.official(Tiny(), both, consecutive=False)["weights"]
    assert set(weights) == set(File.of((HEAD, WORDS), "model.").tensors) and weights["model." + HEAD].equal(weights["model." + WORDS])
    assert shapes_of(Tiny(), both)["weights"]["model." + WORDS] == (5, 3)


def test_names_and_shapes_at_full_depth_are_those_written_by_hand():
    policy = skeleton("openvla_oft", {**world.CONFIG, "unused": True})
    by_hand = world.shapes()
    for part in ("action_head", "proprio_projector"):
        by_hand[part] = {f"module.{key}": shape for key, shape in by_hand[part].items()}
    assert shapes_of(policy, KEYS) == by_hand


def test_the_full_size_manifest_and_a_plan_of_it_take_no_memory():
    """7.7 B parameters: names, shapes and counts of every part, and the plan of a drop, in megabytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    policy = skeleton("openvla_oft", FULL_SIZE)
    shapes = shapes_of(policy, KEYS)
    plan = resolve("language-half", policy)
    counts = {part: sum(prod(shape) for shape in keys.values()) for part, keys in shapes.items()}
    assert counts == {"weights": 7_541_237_184, "action_head": 151_117_831, "proprio_projector": 16_818_176}
    vlm = shapes["weights"]
    of = {
        prefix: sum(prod(s) for key, s in vlm.items() if key.startswith(prefix)) for prefix in ("vision_backbone", "projector", "language")
    }
    assert of["language"] == 6_738_939_904 and of["projector"] == 71_385_600
    assert vlm["language_model.model.layers.31.mlp.down_proj.weight"] == (4096, 11008)
    assert vlm["vision_backbone.featurizer.blocks.23.ls1.scale_factor"] == (1024,)
    assert vlm["vision_backbone.fused_featurizer.blocks.26.attn.qkv.weight"] == (3 * 1152, 1152)
    assert shapes["action_head"]["module.model.fc1.weight"] == (4096, 28672)
    assert plan.parameters.before == sum(counts.values()) and plan.parameters.before - plan.parameters.left == 16 * 202_383_360
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10
