"""Cuts, plans and the verb `drop`: `parse_cut` (text) -> `resolve` (for one policy) -> `drop` (smaller policy)."""

from dtr.dropping.cut import Cut, Part, parse_cut
from dtr.dropping.drop import add_parser, check_header, drop, run
from dtr.dropping.plan import Plan, read_plan, resolve, write_plan
from dtr.dropping.scores import BlockScore, Score, read_score, write_score

__all__ = [
    "BlockScore",
    "Cut",
    "Part",
    "Plan",
    "Score",
    "add_parser",
    "check_header",
    "drop",
    "parse_cut",
    "read_plan",
    "read_score",
    "resolve",
    "run",
    "write_plan",
    "write_score",
]
