"""Golden values of flow-matching policies with joint attention: what all of them are asked, whatever their towers and norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from dtr.errors import BadConfig
from dtr.parity.blocks import drops, gates
from dtr.parity.comparison import Comparison, difference
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.checkpoint import KeyMap, import_weights
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.registry import skeleton

P = TypeVar("P", bound=FlowPolicy)
STACKS = {"vision": "vision", "language": "language", "action": "action"}
ONLY = {
    "language.gated_mlp": True,
    "language.attention_softcap": None,
    "language.final_logit_softcap": None,
    "language.sliding_window": None,
    "action.gated_mlp": True,
}
"""Flags of config.json that these classes have only one value for: the official codes know no other."""


@dataclass(frozen=True)
class Tolerances:
    """Absolute, of the golden README."""

    loss: float
    hidden: float
    actions: float
    gates: float


def load(golden: Golden, kind: type[P], config: Any, keys: KeyMap) -> P:
    """The policy of the folder, of class `kind`, with the official weights."""
    policy = skeleton(kind.name, config)
    assert isinstance(policy, kind)
    import_weights(policy, keys, {part: golden.tensors(f"{part}.safetensors") for part in keys.parts})
    return policy.eval()


def stream(golden: Golden, path: str) -> dict[str, Any]:
    """What config.json says of one stream, but for its norms."""
    fields = {"depth": "num_blocks", "width": "hidden_size", "heads": "num_heads", "kv_heads": "num_kv_heads", "head_dim": "head_dim"}
    fields |= {"mlp": "mlp_size", "activation": "activation", "rope_base": "rope_base"}
    return {mine: golden.value(f"{path}.{theirs}") for mine, theirs in fields.items()}


def text_scale(golden: Golden) -> float:
    """The factor of word embeddings: a number, or words that mean the root of the width (0)."""
    scale = golden.value("language.embedding_scale")
    return 0.0 if isinstance(scale, str) and scale.startswith("sqrt(hidden_size)") else float(scale)


def flow(golden: Golden) -> dict[str, Any]:
    """Steps and periods. BadConfig for a time embedding of another width than the expert's."""
    width, embedding = golden.value("action.hidden_size"), "action.time_embedding"
    if golden.value(f"{embedding}.dim") != width:
        raise BadConfig(f"the time embedding is as wide as the expert, got {golden.value(f'{embedding}.dim')} and {width}: correct it.")
    periods = {name: golden.value(f"{embedding}.{name}") for name in ("min_period", "max_period")}
    return {"steps": golden.value("flow.num_steps"), **periods}


def batches(golden: Golden, names: Mapping[str, str]) -> tuple[Batch, Batch]:
    """The training batch, and the same with the noise that sampling begins from. names: ours -> theirs, beside those of all."""
    names = {"image_mask": "image_mask", "input_ids": "tokens", "attention_mask": "token_mask", **names}
    names |= {"actions": "actions", "noise": "noise", "time": "time"}
    inputs = golden.tensors("inputs.safetensors", "sample_noise", *names.values())
    batch = {mine: inputs[theirs] for mine, theirs in names.items()}
    return batch, batch | {"noise": inputs["sample_noise"]}


@contextmanager
def whole(policy: FlowPolicy) -> Iterator[None]:
    """Inside, the first stream runs its dead blocks too, and every gate is watched."""
    stack = policy.language.stack
    readout, stack.readout = stack.readout, stack.depth - 1
    for gate in policy.gates().values():
        gate.watch()
    try:
        yield
    finally:
        stack.readout = readout
        for gate in policy.gates().values():
            gate.watch(False)


@torch.no_grad()
def capture(policy: FlowPolicy, batch: Batch, sampling: Batch) -> Tensors:
    """Every quantity that all these policies have, under its golden name; vision states are (B, n, P, D)."""
    _, valid = policy.embed(batch)
    found: Tensors = {"language.valid_mask": valid, "loss": policy.losses(batch)}
    with whole(policy):
        found["velocity"], found["apart"] = policy.against(batch)
        for name, stack in policy.stacks().items():
            for i, gate in stack.gates.items():
                assert gate.h_in is not None and gate.h_out is not None
                states = {f"{name}.{i}.input": gate.h_in, f"{name}.output": gate.h_out}  # the last block's output stays
                found |= {k: h.unflatten(0, (valid.shape[0], -1)) if name == "vision" else h for k, h in states.items()}
    noise, t = policy.path(batch)
    condition = policy.enter(batch, noise, t)[1]
    found["action.final"] = policy.action.finish(found["action.output"], condition)
    path = policy.sample(sampling)
    found["sample_time"] = torch.tensor([t for t, _, _ in path])
    found["sample_velocity"] = torch.stack([v for _, v, _ in path], dim=1)
    found["actions"] = policy.act(sampling)
    return found


def compare(
    golden: Golden, policy: FlowPolicy, batch: Batch, sampling: Batch, more: Callable[[Tensors], Tensors], tolerances: Tolerances
) -> Iterator[Comparison]:
    """Every quantity of the folder. `more`: the captured quantities -> those that only this policy has."""
    outputs = golden.tensors("outputs.safetensors", "loss", "actions", "language.valid_mask")
    ours = capture(policy, batch, sampling)
    with torch.no_grad():
        ours |= more(ours)
    valid = outputs["language.valid_mask"].bool()
    yield difference("language.valid_mask", ours["language.valid_mask"], valid, 0.0)
    for name, reference in outputs.items():
        if name == "language.valid_mask":
            continue
        if name not in ours:
            yield Comparison(name, float("inf"), tolerances.hidden, "the folder holds it and our class has no such quantity")
            continue
        got = ours[name]
        if name.startswith("language") and got.shape == reference.shape:  # what padding holds means nothing
            got, reference = (t[valid[:, -t.shape[1] :]] for t in (got, reference))
        yield difference(name, got, reference, tolerance(name, reference, tolerances))
    yield from gates(policy, golden, batch, STACKS, tolerances.gates)
    yield from drops(policy, golden, batch, lambda pruned: pruned.act(sampling), STACKS, tolerances.loss, tolerances.actions)


def tolerance(name: str, reference: Tensor, tolerances: Tolerances) -> float:
    """The tolerance of a quantity: losses of samples, actions, and times, which are exact; everything else is a hidden state."""
    if name == "sample_time":
        return 0.0
    if name.startswith("loss") and reference.dim() == 1:
        return tolerances.loss
    return tolerances.actions if name == "actions" else tolerances.hidden
