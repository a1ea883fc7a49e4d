"""`dtr parity DIR`: our policy class against golden values that the official code computed.

A golden folder holds config.json (every dimension), the official weights, inputs, and what the official implementation made of them
in fp32 on a CPU: loss, actions, the hidden states entering each block, the same after dropping blocks, and the gradients of truly
inserted gates. Every quantity is computed by our class, and its largest absolute difference is printed beside a tolerance.
To add a policy: one module here with a `compare(golden) -> Iterator[Comparison]`, and its line in `ADAPTERS`.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from dtr.errors import unknown
from dtr.parity.comparison import Comparison, Report
from dtr.parity.golden import Golden

ADAPTERS = {name: f"dtr.parity.{name}" for name in ("openvla_oft", "pi05", "gigabrain0", "lingbot_vla")}

__all__ = ["ADAPTERS", "Comparison", "Golden", "Report", "add_parser", "parity", "run"]


def parity(folder: str | Path) -> Report:
    """Compare all quantities of a golden folder. UnknownName for a model without an adapter, BadCheckpoint for a folder that is none."""
    golden = Golden.read(folder)
    name = str(golden.value("model"))
    if name not in ADAPTERS:
        raise unknown("model", name, ADAPTERS, "config.json of the golden folder names it; only these can be compared.")
    adapter = importlib.import_module(ADAPTERS[name])
    return Report(golden.folder, name, tuple(adapter.compare(golden)))


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The verb `parity`."""
    p = verbs.add_parser("parity", help="compare our policy classes with golden values of the official code")
    p.add_argument("folder", metavar="DIR", type=Path, help="a folder of golden values (config.json, weights, inputs, outputs, ...)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table; exit with 1 when a quantity is off."""
    torch.set_num_threads(1)  # the golden values were computed so
    report = parity(args.folder)
    print(report)
    if not report.passed:
        raise SystemExit(1)
