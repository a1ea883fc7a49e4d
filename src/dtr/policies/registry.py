"""Policies by name: ours, and those that installed packages offer as entry points (docs/your-own-policy.md)."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
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
    """The class of a policy; UnknownName with the nearest names otherwise, BadConfig for a package's class that is no policy."""
    found = named(POLICIES[name]) if name in POLICIES else offered("policy", "dtr.policies", name, POLICIES, Policy)
    return checked(found, name, "name")


def processor_class(kind: str) -> type[Processor]:
    """The class of a processor; UnknownName and BadConfig as for policies."""
    found = named(PROCESSORS[kind]) if kind in PROCESSORS else offered("kind of processor", "dtr.processors", kind, PROCESSORS, Processor)
    return checked(found, kind, "kind")


def offered(what: str, group: str, name: str, ours: Iterable[str], base: type) -> Any:
    """The class that an installed package offers as `name` in an entry-point group."""
    entries = {entry.name: entry for entry in entry_points(group=group)}
    if name not in entries:
        raise unknown(what, name, {*ours, *entries}, f"(a package offers one as an entry point of the group {group!r})")
    entry = entries[name]
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise BadConfig(f"the {what} {name!r} is offered as {entry.value}, which does not load ({error}): mend that package.") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise BadConfig(f"the {what} {name!r} is offered as {entry.value}, which is no subclass of {base.__name__}: mend that package.")
    return found


def checked(found: Any, name: str, attribute: str) -> Any:
    """A class that is complete, and that calls itself as it was asked for: files are written with its own name."""
    if found.__abstractmethods__:
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise BadConfig(f"{found.__module__}.{found.__name__} lacks {missing}: write them (docs/your-own-policy.md).")
    own = getattr(found, attribute, None)
    if own != name:
        raise BadConfig(f"{found.__module__}.{found.__name__} is offered as {name!r} but calls itself {own!r}: give both one name.")
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
