"""Golden values of OpenVLA-OFT: the configuration, the two paths (training forward, prediction), the captured quantities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dtr.errors import BadConfig
from dtr.parity.blocks import drops, gates
from dtr.parity.comparison import Comparison, difference
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.bounds import Bounds
from dtr.policies.checkpoint import import_weights
from dtr.policies.openvla_oft import OpenVLAOFT
from dtr.policies.openvla_oft_config import OpenVLAOFTConfig
from dtr.policies.openvla_oft_keys import KEYS
from dtr.policies.registry import skeleton
from dtr.policies.stack import Stack

LOSS, HIDDEN, ACTIONS, GATES = 3e-6, 5e-5, 5e-5, 2e-5
BATCH = ("pixel_values", "input_ids", "attention_mask", "proprio", "actions")
PREDICTED = ("predict_action_hidden_states", "actions", "actions_unnormalized")
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
    inputs = golden.tensors("inputs.safetensors", *BATCH, "prompt_input_ids", "prompt_attention_mask")
    outputs = golden.tensors("outputs.safetensors", "loss", "language.valid_mask", *PREDICTED)
    batch = {name: inputs[name] for name in BATCH}
    batch["attention_mask"] = batch["attention_mask"].bool()
    yield from training_forward(policy, batch, outputs)
    yield from prediction(policy, golden, inputs, outputs)
    yield from gates(policy, golden, batch, STACKS, GATES)
    yield from drops(policy, golden, batch, lambda pruned: predict(pruned, golden, inputs)[0], STACKS, LOSS, ACTIONS)


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
    golden.only(ONLY, "OpenVLA-OFT")
    value, optional = golden.value, golden.optional
    sizes = value("vision.projector.sizes")
    built = OpenVLAOFTConfig.from_dict(
        {
            "image_size": value("vision.image_size"),
            "patch_size": value("vision.patch_size"),
            "images": value("vision.num_images"),
            "dino": _tower(golden, "vision.featurizer"),
            "siglip": _tower(golden, "vision.fused_featurizer"),
            "projector": sizes[1:-1],
            "language": {
                "depth": value("language.num_blocks"),
                "width": value("language.hidden_size"),
                "heads": value("language.num_heads"),
                "kv_heads": optional("language.num_kv_heads", 0),
                "head_dim": optional("language.head_dim", 0),
                "mlp": value("language.mlp_size"),
                "vocab": value("language.vocab_size"),
                "eps": value("language.rms_norm_eps"),
                "rope_base": value("language.rope_base"),
                "attention_bias": optional("language.attention_bias", False),
            },
            "action": {
                "depth": value("action.num_blocks"),
                "hidden": value("action.hidden_size"),
                "eps": value("action.layer_norm_eps"),
            },
            "proprio_dim": value("proprio.dim"),
            "proprio_hidden": value("proprio.projector_sizes")[1],
            "chunk": value("action.chunk"),
            "action_dim": value("action.action_dim"),
        }
    )
    if (sizes[0], sizes[-1]) != (built.features, built.language.width):
        raise BadConfig(f"config.json's projector goes from {sizes[0]} to {sizes[-1]}, its towers and language stack do not: correct it.")
    return built


def _tower(golden: Golden, path: str) -> dict[str, Any]:
    """One tower's configuration; `layer_scale` is only whether there is one, its values are weights."""
    fields = {"depth": "num_blocks", "width": "hidden_size", "heads": "num_heads", "mlp": "mlp_size", "class_token": "class_token"}
    fields |= {"registers": "num_register_tokens", "eps": "layer_norm_eps", "readout": "readout_after_block"}
    tower = {mine: golden.value(f"{path}.{theirs}") for mine, theirs in fields.items()}
    return tower | {"layer_scale": 1.0 if golden.value(f"{path}.layer_scale") else None}


def training_forward(policy: OpenVLAOFT, batch: Batch, outputs: Tensors) -> Iterator[Comparison]:
    """The batched, padded path with all its intermediates."""
    ours, valid = capture(policy, batch), outputs["language.valid_mask"].bool()
    yield difference("language.valid_mask", ours.pop("language.valid_mask"), valid, 0.0)
    for name, reference in outputs.items():
        if name in ours:
            tolerance = LOSS if name == "loss" else ACTIONS if name in ("train_predicted_actions", "loss_elementwise") else HIDDEN
            # What padding holds behind the first block means nothing; only valid tokens are compared.
            rows = valid if name.startswith("language.") and ours[name].shape == reference.shape else slice(None)
            yield difference(name, ours[name][rows], reference[rows], tolerance)
        elif name not in PREDICTED and name != "language.valid_mask":
            yield Comparison(name, float("inf"), HIDDEN, "the folder holds it and our class has no such quantity")


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
        "action.output": policy.action.stack(policy.action.enter(states.reshape(B, policy.config.chunk, -1))),
        "train_predicted_actions": predicted,
        "loss_elementwise": elementwise,
        "loss": policy.losses(batch),
    }
    for theirs, mine in STACKS.items():
        stack = policy.stacks()[mine]
        for i, state in entering(stack).items():
            found[f"{theirs}.{i}.input"] = state.unflatten(0, (B, n)) if theirs.startswith("vision") else state
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
    bounds = Bounds(*(golden.value(f"action_unnormalisation.{field}") for field in ("q01", "q99", "mask")))
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
