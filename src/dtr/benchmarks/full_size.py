"""What only a GPU can show: the policies at their published size, with random weights (time does not depend on them), in bf16.

    act          milliseconds of one chunk of actions, phase by phase, and peak memory, undropped and after two cuts    (dtr.latency)
    gateprobe    seconds for BATCHES batches of SIZE samples on pi0.5's language blocks; the paper: 24.9 s on one H200

The cuts are those of the paper's Tables 4 and 5: half and all but two of the language blocks. Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtr.policies.base import Batch, Policy

CUTS = ("none", "language-half", "language-ends")
POLICIES = ("openvla_oft", "pi05")
SCORED, BATCHES, SIZE, PAPER_S = "pi05", 64, 8, 24.9


def measure(quick: bool = False) -> dict[str, Any]:
    """Both, on the first GPU."""
    import torch

    from dtr.latency import compared, line, measured
    from dtr.policies.registry import beside, skeleton

    if not torch.cuda.is_available():
        print("full_size: no GPU that torch can use, so nothing was measured", flush=True)
        return {"gpu": None}
    how = argparse.Namespace(device="cuda", dtype="bfloat16", batch=1, warmup=1 if quick else 5, repeats=2 if quick else 50)
    acting: dict[str, dict[str, Any]] = {}
    for name in POLICIES:
        config = beside(name, "_config", "FULL_SIZE")
        rows = acting[name] = {cut: measured(name, config, cut, how) for cut in CUTS}
        for cut, row in rows.items():
            row |= compared(row, rows["none"])
            print(f"{name} {line(cut, row)}", flush=True)
    policy = skeleton(SCORED, beside(SCORED, "_config", "FULL_SIZE"))
    scoring = probed(policy, "cuda", torch.bfloat16, 2 if quick else BATCHES, SIZE)
    print(f"GateProbe: {scoring['seconds']:.1f} s for {scoring['batches']} batches of {SIZE} (paper {PAPER_S} s for {BATCHES})", flush=True)
    return {"gpu": torch.cuda.get_device_name(), "dtype": how.dtype, "act": acting, "gateprobe": scoring}


def probed(policy: Policy, device: str, dtype: Any, batches: int, size: int) -> dict[str, Any]:
    """Seconds of GateProbe on the language blocks of a skeleton that gets random weights; one batch before the clock starts."""
    import torch

    from dtr.importance.gateprobe import gate_gradients
    from dtr.latency import filled, now

    policy, cuda = filled(policy, device, dtype), device.startswith("cuda")
    batch = lesson(policy, size, dtype)
    blocks = gate_gradients(policy, batch, ["language"])
    start = now(cuda)
    for _ in range(batches):
        gate_gradients(policy, batch, ["language"])
    seconds = now(cuda) - start
    peak_gib = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    return {"batches": batches, "samples": batches * size, "blocks": len(blocks), "seconds": seconds, "peak_gib": peak_gib}


def lesson(policy: Policy, B: int, dtype: Any) -> Batch:
    """B training samples without padding: a request, and the actions to learn."""
    import torch

    from dtr.latency import request

    c = policy.config
    return request(policy, B, dtype) | {"actions": torch.zeros(B, c.chunk, c.action_dim, device=policy.device)}
