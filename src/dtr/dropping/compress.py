"""Verb `compress`: what recovery is compared with. A recovered, undropped policy is cut or compressed, and then left alone.

zero_shot   blocks go by the plan, and nothing is trained afterwards
int8        the weights stay, and the file says that its linear layers run in dynamic int8
sparse24    of every four weights in a row the two smallest become zero
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from dtr.dropping.drop import drop
from dtr.dropping.plan import read_plan
from dtr.errors import PlanMismatch
from dtr.policies.compression import pruned
from dtr.policies.file import load_policy, save_policy
from dtr.provenance import sha256_file, write_run_record

METHODS = ("zero_shot", "int8", "sparse24")


def add_parser(verbs: Any) -> None:
    """Declare `dtr compress`."""
    p = verbs.add_parser("compress", help="cut or compress a recovered policy without training it afterwards")
    p.add_argument("--policy", type=Path, required=True, help="recovered policy file without any cut")
    p.add_argument("--plan", type=Path, required=True, help="plan.json by which blocks go; for the other methods one that drops nothing")
    p.add_argument("--method", required=True, choices=METHODS, help="zero_shot: the cut alone; int8: dynamic quantisation; sparse24: 2:4")
    p.add_argument("--out", type=Path, required=True, help="policy file")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read, cut or compress, write."""
    started = time.time()
    loaded, plan = load_policy(args.policy), read_plan(args.plan)
    whole = loaded.header["plan"]
    if whole is not None and whole["digest"] != whole["source"]:
        raise PlanMismatch(f"{args.policy} has lost blocks already (cut {whole['cut']!r}): give the recovered policy of the cut 'none'.")
    policy = drop(loaded.policy, plan)
    if args.method == "sparse24":
        policy = pruned(policy)
    provenance = {"stage": "compress", "method": args.method, "policy": sha256_file(args.policy), "ancestor": loaded.header["provenance"]}
    save_policy(args.out, policy, loaded.processor, provenance, plan.to_json())
    write_run_record(args.out, started)
    print(f"{args.out}: {args.method} of {args.policy}")
