"""Golden values of GigaBrain-0."""

from __future__ import annotations

from collections.abc import Iterator

from torch.nn import functional as F

from dtr.parity import flow, paligemma
from dtr.parity.comparison import Comparison
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.gigabrain0 import GigaBrain0
from dtr.policies.gigabrain0_config import GigaBrain0Config
from dtr.policies.gigabrain0_keys import KEYS

TOLERANCES = flow.Tolerances(loss=5e-6, hidden=1e-4, actions=5e-5, gates=5e-5)
BATCH = {"pixel_values": "images", "embodiment": "embodiment_id", "action_mask": "action_loss_mask"}
ONLY = {
    "language.attention_scale": "query_pre_attn_scalar**-0.5",
    "action.attention_scale": "query_pre_attn_scalar**-0.5",
    "action.learnable_trajectory_tokens": False,
    "action.knowledge_insulation": False,
}


def compare(golden: Golden) -> Iterator[Comparison]:
    """Every quantity of the folder."""
    policy, (batch, sampling) = load(golden), flow.batches(golden, BATCH)
    yield from flow.compare(golden, policy, batch, sampling, lambda found: more(policy, batch, found), TOLERANCES)


def more(policy: GigaBrain0, batch: Batch, found: Tensors) -> Tensors:
    """What only this policy has: two losses, and the words that its language model would say."""
    of_all = {name: tensor for name, tensor in batch.items() if name != "action_mask"}
    shared = paligemma.more(policy, batch, found)
    assert policy.language.embedding is not None
    words = shared["language.final"][:, -batch["input_ids"].shape[1] :]
    return shared | {
        "loss_elementwise": found["apart"].square(),
        "loss_unmasked": policy.losses(of_all),
        "language_logits": F.linear(words, policy.language.embedding.weight),
    }


def load(golden: Golden) -> GigaBrain0:
    """The policy of the folder with the official weights."""
    return flow.load(golden, GigaBrain0, config(golden), KEYS)


def config(golden: Golden) -> GigaBrain0Config:
    """Our configuration from every dimension and flag of config.json. BadConfig for a flag that the official code has not."""
    golden.only(ONLY, "GigaBrain-0")
    return GigaBrain0Config.from_dict(
        paligemma.config(golden, post_norm="rms_plus_one") | {"embodiments": golden.value("action.num_embodiments")}
    )
