"""Golden values of OpenVLA-OFT: the configuration, the two paths (training forward, prediction), the captured quantities."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dtr.errors import BadConfig
from dtr.importance.gateprobe import gate_gradients
from dtr.parity.comparison import Comparison, compare as difference
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.bounds import Bounds
from dtr.policies.checkpoint import import_weights
from dtr.policies.openvla_oft import OpenVLAOFT
from dtr.policies.openvla_oft_config import OpenVLAOFTConfig
from dtr.policies.openvla_oft_keys import KEYS
from dtr.policies.registry import skeleton
from dtr.policies.stack import Stack

LOSS, HIDDEN, ACTIONS, GATES, DEAD_DROP = 3e-6, 5e-5, 5e-5, 2e-5, 1e-6
STACKS = {"vision.featurizer": "vision.dino", "vision.fused_featurizer": "vision.siglip", "language": "language", "action": "action"}
ONLY = {
    "vision.featurizer.activation": "gelu_exact_erf",
    "vision.fused_featurizer.activation": "gelu_exact_erf",
    "vision.featurizer.readout_final_norm": False,
    "vision.fused_featurizer.readout_final_norm": False,
    "vision.projector.activation": "gelu_exact_erf",
    "language.activation": "silu",
    "language.gated_mlp": True,
    "language.embedding_scale": 1.0,
    "action.activation": "relu",
    "proprio.activation": "gelu_exact_erf",
    "action_unnormalisation.kind": "bounds_q99",
}
"""Flags of config.json that this class has only one value for: the official code knows no other."""


def compare(golden: Golden) -> Iterator[Comparison]:
    """Every quantity of the folder."""
    torch.manual_seed(0)  # nothing here is random; should anything become so, it repeats
    policy = load(golden)
    inputs, outputs = golden.tensors("inputs.safetensors"), golden.tensors("outputs.safetensors")
    batch = {name: inputs[name] for name in ("pixel_values", "input_ids", "attention_mask", "proprio", "actions")}
    batch["attention_mask"] = batch["attention_mask"].bool()
    yield from training_forward(policy, batch, outputs)
    yield from prediction(policy, golden, inputs, outputs)
    yield from gates(policy, golden, batch)
    yield from drops(policy, golden, batch, inputs)


def load(golden: Golden) -> OpenVLAOFT:
    """The policy of the folder with the official weights."""
    policy = skeleton("openvla_oft", config(golden))
    assert isinstance(policy, OpenVLAOFT)
    parts = {part: golden.tensors(f"{part}.safetensors") for part in KEYS.parts}
    vlm = parts["weights"]
    if golden.optional("language.tie_word_embeddings", False) and "language_model.lm_head.weight" in vlm:
        vlm.setdefault("language_model.model.embed_tokens.weight", vlm["language_model.lm_head.weight"])
    import_weights(policy, KEYS, parts)
    return policy.eval()


def config(golden: Golden) -> OpenVLAOFTConfig:
    """Our configuration from every dimension and flag of config.json. BadConfig for a flag that the official code has not."""
    for path, known in ONLY.items():
        if golden.optional(path, known) != known:
            raise BadConfig(f"config.json says {path} = {golden.value(path)!r} but OpenVLA-OFT has {known!r}: compare another folder.")
    vision, language, action = golden.value("vision"), golden.value("language"), golden.value("action")
    sizes = golden.value("vision.projector.sizes")
    built = OpenVLAOFTConfig.from_dict(
        {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "images": vision["num_images"],
            "dino": _tower(golden, "vision.featurizer"),
            "siglip": _tower(golden, "vision.fused_featurizer"),
            "projector": sizes[1:-1],
            "language": {
                "depth": language["num_blocks"],
                "width": language["hidden_size"],
                "heads": language["num_heads"],
                "kv_heads": language.get("num_kv_heads", 0),
                "head_dim": language.get("head_dim", 0),
                "mlp": language["mlp_size"],
                "vocab": language["vocab_size"],
                "eps": language["rms_norm_eps"],
                "rope_base": language["rope_base"],
                "attention_bias": language.get("attention_bias", False),
            },
            "action": {"depth": action["num_blocks"], "hidden": action["hidden_size"], "eps": action["layer_norm_eps"]},
            "proprio_dim": golden.value("proprio.dim"),
            "proprio_hidden": golden.value("proprio.projector_sizes")[1],
            "chunk": action["chunk"],
            "action_dim": action["action_dim"],
        }
    )
    if (sizes[0], sizes[-1]) != (built.features, built.language.width):
        raise BadConfig(f"config.json's projector goes from {sizes[0]} to {sizes[-1]}, its towers and language stack do not: correct it.")
    return built


def _tower(golden: Golden, path: str) -> dict[str, Any]:
    t = golden.value(path)
    return {
        "depth": t["num_blocks"],
        "width": t["hidden_size"],
        "heads": t["num_heads"],
        "mlp": t["mlp_size"],
        "class_token": t["class_token"],
        "registers": t["num_register_tokens"],
        "layer_scale": 1.0 if t["layer_scale"] else None,
        "eps": t["layer_norm_eps"],
        "readout": t["readout_after_block"],
    }


def training_forward(policy: OpenVLAOFT, batch: Batch, outputs: Tensors) -> Iterator[Comparison]:
    """The batched, padded path with all its intermediates."""
    ours, valid = capture(policy, batch), outputs["language.valid_mask"].bool()
    yield difference("language.valid_mask", ours.pop("language.valid_mask"), valid, 0.0)
    for name, value in ours.items():
        if name in outputs:
            rows = valid if name.startswith("language.") and value.shape[:2] == valid.shape else slice(None)
            tolerance = LOSS if name == "loss" else ACTIONS if "action" in name or name.startswith("loss") else HIDDEN
            yield difference(name, value[rows], outputs[name][rows], tolerance)


@torch.no_grad()
def capture(policy: OpenVLAOFT, batch: Batch) -> Tensors:
    """Every quantity of the training forward, under its golden name."""
    B, n = batch["proprio"].shape[0], policy.config.images
    for gate in policy.gates().values():
        gate.watch()
    features = policy.features(batch["pixel_values"])
    h, first, valid = policy.embed(batch)
    out = policy.language(h, valid[:, None, None, :])
    states = policy.action_states(out, first)
    predicted = policy.decode(states)
    elementwise = (predicted - batch["actions"]).abs()
    found = {
        "vision.features": features,
        "vision.projected": policy.projector(features),
        "proprio.projected": policy.proprio(batch["proprio"]),
        "language.output": out,
        "language.final": policy.language.norm(out),
        "language.valid_mask": valid,
        "action.input_hidden": states,
        "train_predicted_actions": predicted,
        "loss_elementwise": elementwise,
        "loss": policy.losses(batch),
    }
    for theirs, mine in STACKS.items():
        stack = policy.stacks()[mine]
        for i, state in entering(stack).items():
            found[f"{theirs}.{i}.input"] = state.unflatten(0, (B, n)) if theirs.startswith("vision") else state
        if mine == "action":
            last = stack.gates[stack.kept[-1]].h_out if stack.kept else policy.action.enter(states.flatten(1).unflatten(1, (policy.config.chunk, -1)))
            found["action.output"] = last if last is not None else states
    for gate in policy.gates().values():
        gate.watch(False)
    return found


def entering(stack: Stack) -> dict[int, Tensor]:
    """The residual stream that enters each kept block of a watched stack; dead blocks, which `forward` skips, are run here."""
    states: dict[int, Tensor] = {}
    h: Tensor | None = None
    for i, gate in stack.gates.items():
        if gate.h_in is not None and gate.h_out is not None:
            states[i], h = gate.h_in, gate.h_out
        elif h is not None:
            states[i], h = h, stack.blocks[str(i)](h)
    return states


def prediction(policy: OpenVLAOFT, golden: Golden, inputs: Tensors, outputs: Tensors) -> Iterator[Comparison]:
    """The path of `predict_action`: one sample at a time, without padding."""
    actions, states = predict(policy, golden, inputs)
    un = golden.value("action_unnormalisation")
    bounds = Bounds(un["q01"], un["q99"], un["mask"])
    yield difference("predict_action_hidden_states", states, outputs["predict_action_hidden_states"], HIDDEN)
    yield difference("actions", actions, outputs["actions"], ACTIONS)
    yield difference("actions_unnormalized", torch.from_numpy(bounds.restore(actions.numpy())), outputs["actions_unnormalized"], ACTIONS)


@torch.no_grad()
def predict(policy: OpenVLAOFT, golden: Golden, inputs: Tensors) -> tuple[Tensor, Tensor]:
    """Normalised actions (B, C, A) and action states (B, C A, D) of every sample, each alone."""
    empty, stop = int(golden.value("language.empty_token_id")), int(golden.value("language.stop_token_id"))
    actions, states = [], []
    for b, length in enumerate(inputs["prompt_attention_mask"].sum(1).tolist()):
        prompt = inputs["prompt_input_ids"][b, : int(length)].tolist()
        prompt += [] if prompt[-1] == empty else [empty]
        ids = torch.tensor([[*prompt, *[1] * policy.config.action_tokens, stop]])
        sample = {"pixel_values": inputs["pixel_values"][b : b + 1], "proprio": inputs["proprio"][b : b + 1]}
        h, first, _ = policy.embed(sample | {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)})
        read = policy.action_states(policy.language(h, None), first)
        states.append(read)
        actions.append(policy.decode(read))
    return torch.cat(actions), torch.cat(states)


def gates(policy: OpenVLAOFT, golden: Golden, batch: Batch) -> Iterator[Comparison]:
    """GateProbe's per-sample gradients against those of truly inserted gates; dead ones must be exactly 0."""
    ours, reference = gate_gradients(policy, batch), golden.json("gates.json")["values"]
    dead = {f"{name}.{i}" for name, stack in policy.stacks().items() for i in stack.dead}
    for theirs, values in reference.items():
        for i, expected in values.items():
            mine = f"{STACKS[theirs]}.{i}"
            got = ours.get(mine, torch.full((len(expected),), float("nan")))
            yield difference(f"gate.{theirs}.{i}", got, torch.tensor(expected), 0.0 if mine in dead else GATES)


def drops(policy: OpenVLAOFT, golden: Golden, batch: Batch, inputs: Tensors) -> Iterator[Comparison]:
    """Loss and actions after dropping blocks; a drop of dead blocks alone must also leave our own actions as they were."""
    expected = golden.tensors("drops.safetensors")
    for entry in golden.json("drops.json")["drops"]:
        name, removed = entry["name"], {STACKS[k]: v for k, v in entry["removed_blocks"].items()}
        pruned = copy.deepcopy(policy)
        pruned.drop(removed)
        with torch.no_grad():
            loss, (actions, _) = pruned.losses(batch), predict(pruned, golden, inputs)
            yield difference(f"drop.{name}.loss", loss, expected[f"{name}.loss"], LOSS)
            yield difference(f"drop.{name}.actions", actions, expected[f"{name}.actions"], ACTIONS)
            if all(set(indices) <= set(policy.stacks()[stack].dead) for stack, indices in removed.items()):
                yield difference(f"drop.{name} against undropped", actions, predict(policy, golden, inputs)[0], DEAD_DROP)
