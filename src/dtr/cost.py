"""What a policy costs: parameters stored, and floating-point operations of one action chunk at batch 1.

Both follow from name and configuration alone, so they are counted on the `meta` device: 7 B parameters take no memory, and the
count is the same on every machine. (On a CPU torch's counter would miss attention: its fused kernel there has no formula.)
A multiply-add is two operations; matrix products, convolutions and attention count, norms and activations do not.
A component owns all of its module (a tower its patch embedding, the language model its token table); the projectors, and
released weights that no action depends on, are `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dtr.errors import PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.processor import Processor
from dtr.policies.registry import skeleton
from dtr.provenance import digest

PROMPT_TOKENS = 30
"""Prompt length where no processor says better: about a LIBERO sentence in OpenVLA's template."""
OWNERS = ("vision", "language", "action", "other")
"""Whose an amount is."""
INSTRUCTION = "put the bowl on the plate"
"""What a processor without a fixed text length is asked, so that costs compare."""


@dataclass(frozen=True)
class Amount:
    """`total` = the sum of `by_component`, an amount of each of OWNERS."""

    total: int
    by_component: Mapping[str, int]

    def to_json(self, baseline: Amount) -> dict[str, Any]:
        """With the fraction of a baseline's total."""
        return {"total": self.total, "fraction": self.total / baseline.total, "by_component": dict(self.by_component)}


@dataclass(frozen=True)
class Cost:
    """policy, digest: name and configuration digest; tokens: text length measured."""

    policy: str
    digest: str
    tokens: int
    parameters: Amount
    flops: Amount

    def to_json(self, baseline: Cost) -> dict[str, Any]:
        """The value of `schemas/cost.schema.json`. Raises PlanMismatch when the baseline is another kind of policy."""
        if (self.policy, self.tokens) != (baseline.policy, baseline.tokens):
            expected = f"a baseline like {self.policy} with {self.tokens} text tokens"
            raise PlanMismatch(
                f"expected {expected}, got {baseline.policy} with {baseline.tokens}; compare a policy with its own undropped file."
            )
        amounts = {"parameters": self.parameters.to_json(baseline.parameters), "flops": self.flops.to_json(baseline.flops)}
        return {"policy": self.policy, "digest": self.digest, "baseline": baseline.digest, "tokens": self.tokens, **amounts}


def config_digest(policy: Policy) -> str:
    """The name of what a policy is: its class and configuration, kept blocks and widths included, weights not."""
    return digest({"policy": policy.name, "config": policy.config.to_dict()})


def measure(policy: Policy, text_tokens: int | None = None) -> Cost:
    """The cost of a policy (on any device, `meta` included). text_tokens: length of `input_ids`, by default that of a prompt of
    PROMPT_TOKENS."""
    return of_config(policy.name, policy.config, text_tokens or policy.config.text_length(PROMPT_TOKENS))


@lru_cache(maxsize=64)
def of_config(name: str, config: Any, text_tokens: int) -> Cost:
    """The cost that name and configuration have; counted once in a process."""
    policy = skeleton(name, config)
    return Cost(name, config_digest(policy), text_tokens, parameters(policy), flops(policy, text_tokens))


def parameters(policy: Policy) -> Amount:
    """Stored parameters."""
    owner = owners(policy)
    counts = dict.fromkeys(OWNERS, 0)
    for name, parameter in policy.named_parameters():
        counts[owner.get(name.split(".")[0], "other")] += parameter.numel()
    return Amount(sum(counts.values()), counts)


def flops(policy: Policy, text_tokens: int) -> Amount:
    """Operations of one `act` of a policy on the `meta` device, on one sample without padding."""
    owner, root = owners(policy), type(policy).__name__
    counter = counted(lambda: policy.act(policy.example(text_tokens)))
    counts = dict.fromkeys(OWNERS, 0)
    per_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    for child, _ in policy.named_children():
        counts[owner.get(child, "other")] += per_module.get(f"{root}.{child}", 0)
    counts["other"] += counter.get_total_flops() - sum(counts.values())
    return Amount(counter.get_total_flops(), counts)


def counted(work: Callable[[], object]) -> FlopCounterMode:
    """The operations of `work` on a policy on the `meta` device, on a sample without padding."""
    with FlopCounterMode(display=False) as counter, EveryBranchTrue():
        work()
    return counter


def owners(policy: Policy) -> dict[str, str]:
    """Top-level module -> the component whose stack is in it."""
    stacks = {id(stack): name.split(".")[0] for name, stack in policy.stacks().items()}
    found = ((child, stacks.get(id(inner))) for child, module in policy.named_children() for inner in module.modules())
    return {child: component for child, component in found if component is not None}


def text_length(processor: Processor) -> int:
    """Text tokens of one request: fixed by the processor, or those of an ordinary instruction."""
    return processor.text_length(INSTRUCTION)


class EveryBranchTrue(TorchDispatchMode):
    """On `meta` there are no values to branch on. The one question that a policy asks of them is whether all tokens are valid; in a
    sample without padding they are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True
        return func(*args, **(kwargs or {}))
