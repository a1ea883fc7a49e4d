"""Golden values of pi0.5."""

from __future__ import annotations

from collections.abc import Iterator

from dtr.parity import flow, paligemma
from dtr.parity.comparison import Comparison
from dtr.parity.golden import Golden
from dtr.policies.pi05 import Pi05
from dtr.policies.pi05_config import Pi05Config
from dtr.policies.pi05_keys import KEYS

TOLERANCES = flow.Tolerances(loss=3e-6, hidden=5e-5, actions=1e-5, gates=1e-5)
ONLY = {"language.attention_scale": "head_dim**-0.5"}


def compare(golden: Golden) -> Iterator[Comparison]:
    """Every quantity of the folder."""
    policy, (batch, sampling) = load(golden), flow.batches(golden, {"pixel_values": "images"})
    yield from flow.compare(
        golden,
        policy,
        batch,
        sampling,
        lambda found: paligemma.more(policy, batch, found) | {"loss_elementwise": found["apart"].square()},
        TOLERANCES,
    )


def load(golden: Golden) -> Pi05:
    """The policy of the folder with the official weights."""
    return flow.load(golden, Pi05, config(golden), KEYS)


def config(golden: Golden) -> Pi05Config:
    """Our configuration from every dimension and flag of config.json. BadConfig for a flag that the official code has not."""
    golden.only(ONLY, "pi0.5")
    return Pi05Config.from_dict(paligemma.config(golden, post_norm=""))
