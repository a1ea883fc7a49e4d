"""Policies by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from dtr.errors import BadConfig, unknown
from dtr.policies.base import Policy
from dtr.policies.processor import Processor

POLICIES = {
    "openvla_oft": "dtr.policies.openvla_oft:OpenVLAOFT",
    "pi05": "dtr.policies.pi05:Pi05",
    "gigabrain0": "dtr.policies.gigabrain0:GigaBrain0",
    "lingbot_vla": "dtr.policies.lingbot_vla:LingBotVLA",
}

PROCESSORS = {
    "openvla_oft": "dtr.policies.openvla_oft_processor:OpenVLAProcessor",
    "flow": "dtr.policies.flow_processor:FlowProcessor",
}
"""Kind of processor -> its class."""


def policy_class(name: str) -> type[Policy]:
    """The class of a policy; UnknownName with the nearest names otherwise."""
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES)
    found: type[Policy] = named(POLICIES[name])
    return found


def processor_class(kind: str) -> type[Processor]:
    """The class of a processor."""
    found: type[Processor] = named(PROCESSORS[kind])
    return found


def named(path: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def skeleton(name: str, config: Mapping[str, Any] | Any) -> Policy:
    """The policy on the `meta` device: all shapes, no memory, no random number drawn. `config`: its dataclass or JSON values."""
    kind = policy_class(name)
    with torch.device("meta"):
        return kind(kind.parse(config) if isinstance(config, Mapping) else config)


def build(name: str, config: Mapping[str, Any] | Any, seed: int) -> Policy:
    """A policy with initial weights that depend on `seed` alone, fp32 on the CPU."""
    policy = skeleton(name, config)
    policy.to_empty(device="cpu")
    policy.reset_parameters(seed)
    return policy


def beside(name: str, suffix: str, attribute: str) -> Any:
    """`attribute` of the module that stands beside a policy's and ends in `suffix`: `_keys` KEYS (official names), `_config` FULL_SIZE."""
    module = policy_class(name).__module__ + suffix
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BadConfig(
            f"policy {name!r} has no {attribute} in {module}: write it, or choose a policy whose checkpoints are read."
        ) from error
