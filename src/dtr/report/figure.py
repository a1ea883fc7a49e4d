"""Verb `figure`: draw one figure, as PNG and as PDF, from records and cells and, to tell which arms are one policy, the plans beside them.

scores     score profile of every metric per block            score files of one policy
curves     held-out loss over recovery                        recovered policies, with their loss curves beside them
frontier   success against FLOPs kept                         cells of flops and average
tasks      per-task heat map                                  cells of average
costs      where parameters and FLOPs lie                     cost records
strength   success against perturbation strength              cells of perturbed suites (table 6)
reported   the paper's figure, by its own numbers              one file of results/reported
failures   contact sheet of failures                          a recovered policy, its episodes, their protocol; of several the worst
                                                              that still succeeds sometimes
language_pressure   success and following by instruction      language_pressure.csv
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig

FIGURES = ("scores", "curves", "frontier", "tasks", "costs", "strength", "reported", "failures", "language_pressure")


def add_parser(verbs: Any) -> None:
    """Declare `dtr figure`."""
    p = verbs.add_parser(
        "figure", help="draw one figure as PNG and PDF", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    p.add_argument("figure", choices=FIGURES, help="which one")
    p.add_argument("--files", type=Path, nargs="+", default=[], help="what it is drawn from")
    p.add_argument("--policy", type=Path, nargs="+", default=[], help="failures: the policy file, or several")
    p.add_argument("--episodes", type=Path, nargs="+", default=[], help="failures: the episodes of each policy on one suite")
    p.add_argument("--protocol", help="failures: their protocol, JSON or the path of a JSON file")
    p.add_argument("--workers", type=int, default=1, help="failures: simulator processes (default 1)")
    p.add_argument("--device", default="cpu", help="failures: where the policy runs: cpu or cuda; as for its rollout")
    p.add_argument("--out", type=Path, required=True, help="the PNG; the PDF goes beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw and write."""
    from dtr.report.figures.style import write_figure

    module = importlib.import_module(f"dtr.report.figures.{args.figure}")
    if args.out.suffix != ".png":
        raise BadConfig(f"--out names the PNG, and the PDF goes beside it; got {args.out}.")
    if args.figure == "failures":
        from dtr.rollout.protocol import Protocol

        if not args.policy or args.protocol is None or len(args.policy) != len(args.episodes):
            given = f"{len(args.policy)} policies, {len(args.episodes)} episode files and {'a' if args.protocol else 'no'} protocol"
            raise BadConfig(f"the figure failures needs --protocol, --policy, and as many --episodes as policies; got {given}.")
        drawn = module.draw(args.policy, args.episodes, Protocol.read(args.protocol), args.workers, args.device)
    elif not args.files:
        raise BadConfig(f"the figure {args.figure} needs --files; `dtr figure --help` says which.")
    else:
        drawn = module.draw(args.files)
    write_figure(drawn, args.out)
    print(f"{args.out} and {args.out.with_suffix('.pdf').name}")
