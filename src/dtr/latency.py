"""Verb `latency`: how long a policy takes for one chunk of actions, and how much memory, measured here and now.

    vision      images to tokens                       language    the language model's one pass over the prefix
    action      head, or all denoising steps           total       the whole inference

The calls of a policy file and its cuts alternate, so that what else the machine does meets all of them alike; full-size policies, of which
two do not fit, and those on a GPU go one after the other.

Every phase is timed to its end (a GPU is waited for), after `warmup` unmeasured calls; median and 95th percentile over `repeats`. With
a baseline measured in the same run, the speed-up stands beside Amdahl's bound: with f the part of the baseline's time that the
dropped component takes and r the part of its FLOPs that is left, no drop can be faster than 1 / (1 - f (1 - r)).

Weights do not matter to time, so a configuration alone will do: the full-size policies are measured with random weights. Peak memory is
what a GPU reports; on a CPU the weights and the tensors that are alive at a time, counted in one call that is not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.ao.nn.quantized.dynamic import Linear as DynamicQuantizedLinear

from dtr.cost import PROMPT_TOKENS, Cost, measure
from dtr.device_memory import call_bytes, free_bytes
from dtr.dropping.cut import parse_cut
from dtr.dropping.drop import drop
from dtr.dropping.plan import Plan, read_plan, resolve
from dtr.errors import BadConfig
from dtr.policies.base import Batch, Policy
from dtr.policies.compression import KERNELS, executed
from dtr.policies.device import probe
from dtr.policies.file import load_skeleton
from dtr.policies.registry import beside, policy_class, skeleton
from dtr.progress import Progress
from dtr.provenance import machine, write_json

PHASES = ("vision", "language", "action")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def add_parser(verbs: Any) -> None:
    """`dtr latency`."""
    p = verbs.add_parser("latency", help="time and memory of one chunk of actions, phase by phase, before and after a cut")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--policy", type=Path, help="policy file: its shape is measured, with random weights")
    what.add_argument("--full-size", metavar="NAME", help="a policy class at its published size, for example openvla_oft or pi05")
    p.add_argument("--cut", nargs="+", default=[], help="cuts to measure beside the undropped policy (not by a metric)")
    p.add_argument("--plan", type=Path, help="plan.json to measure beside the undropped policy: any cut")
    p.add_argument("--kernels", choices=KERNELS, help="also compress what is measured beside it: int8 (CPU) or 2:4 sparse weights (GPU)")
    p.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    p.add_argument("--dtype", default="float32", choices=DTYPES, help="type of weights and inputs (default float32)")
    p.add_argument("--batch", type=int, default=1, help="requests at a time (default 1)")
    p.add_argument("--warmup", type=int, default=5, help="calls before the clock starts (default 5)")
    p.add_argument("--repeats", type=int, default=30, help="calls that are timed (default 30)")
    p.add_argument("--out", type=Path, required=True, help="latency.json")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure the undropped policy, then every cut, and write what came out."""
    check(args)
    name, config = shape_of(args)
    wanted: dict[str, str | Plan] = {cut: cut for cut in ("none", *args.cut)}
    if args.plan is not None:
        plan = read_plan(args.plan)
        wanted["-".join([plan.cut, *([args.kernels] if args.kernels else [])])] = plan
    sizes = [carried_out(name, config, cut).parameter_count for cut in wanted.values()]  # what it cannot bear is said before the first call
    cuda = args.device.startswith("cuda")
    turns = args.policy is not None and not cuda  # otherwise too large for two at a time
    check_room((sum if turns else max)(sizes) * DTYPES[args.dtype].itemsize, args)
    kernels = {label: args.kernels if label != "none" else None for label in wanted}
    with torch.cuda.device(args.device) if cuda else contextlib.nullcontext():  # clocks and counters are those of the current GPU
        if turns:
            rows = in_turns({label: prepared(name, config, cut, args, kernels[label]) for label, cut in wanted.items()}, args)
        else:
            rows = {label: measured(name, config, cut, args, kernels[label]) for label, cut in wanted.items()}
    for cut, row in rows.items():
        row |= compared(row, rows["none"])
        print(line(cut, row), flush=True)
    record = {"policy": name, "device": device_name(args.device), "dtype": args.dtype, "batch": args.batch, "repeats": args.repeats}
    write_json(args.out, record | {"warmup": args.warmup, "threads": torch.get_num_threads(), "cuts": rows, "machine": machine()})


def check(args: argparse.Namespace) -> None:
    """Raises BadConfig, UnknownName or MissingLibrary when what is asked for cannot be measured, here or anywhere."""
    if args.device.split(":")[0] not in ("cpu", "cuda"):
        raise BadConfig(f"expected --device cpu or cuda, got {args.device!r}: name one of these.")
    probe(args.device)
    if args.batch < 1 or args.repeats < 1 or args.warmup < 0:
        raise BadConfig(
            "latency expects --batch and --repeats of 1 or more and --warmup of 0 or more, "
            f"got {args.batch}, {args.repeats} and {args.warmup}: raise what is too small."
        )
    for cut in args.cut:
        if metrics := parse_cut(cut).metrics:
            raise BadConfig(
                f"latency reads no weights, so it has no {metrics[0]} scores for the cut {cut!r}: plan it with `dtr drop` "
                "and name the blocks that stay, as in language-keep-0_5."
            )


def check_room(need: int, args: argparse.Namespace) -> None:
    """Raises BadConfig when so many bytes of weights do not fit into what the device has left."""
    free = free_bytes(args.device)
    if free is not None and need > free:
        raise BadConfig(
            f"the weights alone take {need / 2**30:.1f} GiB in {args.dtype}, but {args.device} has {free / 2**30:.1f} GiB left: "
            "measure on a larger device, with --dtype bfloat16, or fewer cuts at a time."
        )


def shape_of(args: argparse.Namespace) -> tuple[str, Any]:
    """The class's name and its configuration."""
    if args.policy is not None:
        empty = load_skeleton(args.policy)
        return empty.policy.name, empty.policy.config
    policy_class(args.full_size)  # UnknownName, with the nearest
    return args.full_size, beside(args.full_size, "_config", "FULL_SIZE")


def measured(name: str, config: Any, cut: str | Plan, args: argparse.Namespace, kernels: str | None = None) -> dict[str, Any]:
    """One policy's times, memory and cost. Weights are random; the policy is gone afterwards."""
    ready, cuda = prepared(name, config, cut, args, kernels), args.device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    return facts(ready, clock(ready.policy, ready.batch, args.warmup, args.repeats, cuda), cuda)


@dataclass(frozen=True)
class Ready:
    """A policy with random weights, a request for it, and what it costs by count."""

    policy: Policy
    batch: Batch
    cost: Cost


def prepared(name: str, config: Any, cut: str | Plan, args: argparse.Namespace, kernels: str | None) -> Ready:
    """A policy ready to be measured."""
    policy = carried_out(name, config, cut)
    cost = measure(policy)
    policy = filled(policy, args.device, DTYPES[args.dtype])
    return Ready(executed(policy, kernels), request(policy, args.batch, DTYPES[args.dtype]), cost)


def carried_out(name: str, config: Any, cut: str | Plan) -> Policy:
    """A skeleton without what a cut or a plan drops. Raises PlanMismatch."""
    policy = skeleton(name, config)
    return drop(policy, cut if isinstance(cut, Plan) else resolve(cut, policy))


def in_turns(ready: Mapping[str, Ready], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Label -> times, memory and cost, call by call in turns: what else the machine does then meets all of them alike."""
    times: dict[str, dict[str, list[float]]] = {label: {phase: [] for phase in (*PHASES, "total")} for label in ready}
    with Progress("latency", args.repeats, "turn") as progress:
        for k in range(args.repeats):
            for label, one in ready.items():
                for phase, values in clock(one.policy, one.batch, args.warmup if k == 0 else 0, 1, cuda=False).items():
                    times[label][phase] += values
            progress.update()
    return {label: facts(one, times[label], cuda=False) for label, one in ready.items()}


def facts(ready: Ready, times: Mapping[str, list[float]], cuda: bool) -> dict[str, Any]:
    """What is written of one policy."""
    cost, policy = ready.cost, ready.policy
    weights = stored_bytes(policy)
    peak = torch.cuda.max_memory_allocated() if cuda else weights + call_bytes(lambda: policy.act(ready.batch))
    return {
        "parameters": cost.parameters.total,
        "flops": cost.flops.total,
        "flops_by_component": dict(cost.flops.by_component),
        "weights_gib": weights / 2**30,
        "peak_gib": peak / 2**30,
        "median_ms": {phase: float(np.median(values)) for phase, values in times.items()},
        "p95_ms": {phase: float(np.percentile(values, 95)) for phase, values in times.items()},
    }


def stored_bytes(policy: Policy) -> int:
    """Bytes of all parameters; a quantised layer keeps its weights elsewhere."""
    packed: list[Tensor] = [layer.weight() for layer in policy.modules() if isinstance(layer, DynamicQuantizedLinear)]
    return sum(t.numel() * t.element_size() for t in (*policy.parameters(), *packed))


def filled(policy: Policy, device: str, dtype: torch.dtype) -> Policy:
    """A skeleton with small random weights on a device: never a second copy, never in another type."""
    policy.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for tensor in policy.parameters():
            tensor.normal_(0.0, 0.02)
    return policy.eval()


def request(policy: Policy, B: int, dtype: torch.dtype) -> Batch:
    """B requests without padding on the policy's device, shaped as `policy.example`: numbers are 1, indices 0, which every table has."""
    batch: Batch = {}
    for key, like in policy.example(policy.config.text_length(PROMPT_TOKENS)).items():
        value, kind = (1.0, dtype) if like.is_floating_point() else (like.dtype == torch.bool, like.dtype)
        batch[key] = torch.full((B, *like.shape[1:]), value, dtype=kind, device=policy.device)
    return batch


def clock(policy: Policy, batch: Batch, warmup: int, repeats: int, cuda: bool) -> dict[str, list[float]]:
    """Milliseconds of every phase and of the whole, one number a repeat."""
    times: dict[str, list[float]] = {phase: [] for phase in (*PHASES, "total")}
    for k in range(warmup + repeats):
        marks = [("", now(cuda))]
        policy.act(batch, lambda phase, marks=marks: marks.append((phase, now(cuda))))  # type: ignore[misc]
        if [phase for phase, _ in marks[1:]] != [*PHASES]:
            raise BadConfig(
                f"`act` of {policy.name} must mark the end of {', '.join(PHASES)} in this order, it marks "
                f"{', '.join(phase for phase, _ in marks[1:]) or 'nothing'}: call `mark` (docs/your-own-policy.md)."
            )
        if k < warmup:
            continue
        for (_, before), (phase, after) in pairwise(marks):
            times[phase].append(1000 * (after - before))
        times["total"].append(1000 * (marks[-1][1] - marks[0][1]))
    return times


def now(cuda: bool) -> float:
    """Seconds, when everything asked for so far is done."""
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def compared(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, float]:
    """The speed-up against the baseline, and Amdahl's bound from the baseline's times and the FLOPs that are left."""
    whole = baseline["median_ms"]["total"]
    left = 1 - sum(
        baseline["median_ms"][phase] / whole * (1 - row["flops_by_component"][phase] / max(1, baseline["flops_by_component"][phase]))
        for phase in PHASES
    )
    return {"speedup": whole / row["median_ms"]["total"], "amdahl": 1 / left}


def line(cut: str, row: Mapping[str, Any]) -> str:
    """One line for the reader."""
    phases = ", ".join(f"{phase} {row['median_ms'][phase]:.2f}" for phase in PHASES)
    memory = f"weights {row['weights_gib']:.3g} GiB, peak {row['peak_gib']:.3g} GiB"
    return (
        f"{cut}: {row['median_ms']['total']:.2f} ms a chunk ({phases}; p95 {row['p95_ms']['total']:.2f}), "
        f"{row['speedup']:.2f} times the baseline's speed (bound {row['amdahl']:.2f}), {memory}"
    )


def device_name(device: str) -> str:
    """What the times belong to."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else str(machine()["cpu"])
