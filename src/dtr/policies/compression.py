"""What dropping blocks is compared with: the same policy with cheaper linear layers, by torch's own tools.

    int8       y = x W^T with W in int8 (one scale a matrix) and x in int8 (its scale measured at every call); torch's dynamic
               quantisation, CPU only
    sparse24   of every four weights in a row the two smallest are zero (magnitude); torch's kernels for it need a GPU, half precision

A file holds ordinary weights in either case: int8 is how a policy is *run* (`executed`), 2:4 is what its weights *are* (`pruned`).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dtr.errors import MissingLibrary
from dtr.policies.base import Policy

KERNELS = ("int8", "sparse24")


def executed(policy: Policy, kernels: str | None) -> Policy:
    """The policy as it is run: its linear layers by these `kernels` (None: as they are). The policy given stays as it is.

    Raises MissingLibrary where this machine has no such kernels.
    """
    if kernels == "int8":
        return quantised(policy)
    if kernels == "sparse24":
        return semi_structured(policy)
    return policy


def quantised(policy: Policy) -> Policy:
    """A copy with every linear layer dynamically quantised to int8."""
    if policy.device.type != "cpu":
        raise MissingLibrary(f"torch quantises to int8 on the CPU only, the policy is on {policy.device}: leave --device out.")
    from torch.ao.quantization import quantize_dynamic

    torch.backends.quantized.engine = "onednn" if "onednn" in torch.backends.quantized.supported_engines else "qnnpack"
    with warnings.catch_warnings():  # deprecated in favour of a package that is not in the lock; torch 2.13 still has it
        warnings.simplefilter("ignore")
        result: Policy = quantize_dynamic(copy.deepcopy(policy), {nn.Linear}, dtype=torch.qint8)
    return result


def semi_structured(policy: Policy) -> Policy:
    """A copy whose linear layers use the GPU's 2:4 kernels, where their shape permits."""
    if policy.device.type != "cuda":
        raise MissingLibrary("torch's 2:4 kernels need a GPU: give --device cuda on a machine with one.")
    from torch.sparse import to_sparse_semi_structured

    policy = pruned(copy.deepcopy(policy))
    for layer in policy.modules():
        if isinstance(layer, nn.Linear) and layer.in_features % 64 == 0 and layer.out_features % 64 == 0:
            layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight.detach()), requires_grad=False)
    return policy


def pruned(policy: Policy) -> Policy:
    """The policy itself, its linear layers' weights 2:4 sparse. A width that is no multiple of 4 keeps its last weights."""
    with torch.no_grad():
        for layer in policy.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(mask24(layer.weight))
    return policy


def mask24(weight: Tensor) -> Tensor:
    """(m, n) weights -> (m, n) of ones and zeros: in every group of four along n the two of largest magnitude; equal ones: the first."""
    m, n = weight.shape
    mask = torch.ones_like(weight)
    groups = weight[:, : n - n % 4].abs().reshape(m, -1, 4)
    order = groups.argsort(dim=-1, descending=True, stable=True)
    mask[:, : n - n % 4] = torch.zeros_like(groups).scatter_(-1, order[..., :2], 1.0).reshape(m, -1)
    return mask


def kernels_of(header: Mapping[str, Any]) -> str | None:
    """How the policy of a file wants to be run, from its header."""
    method = (header.get("provenance") or {}).get("method")
    return "int8" if method == "int8" else None
