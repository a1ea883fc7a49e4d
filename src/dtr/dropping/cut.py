"""What to remove, as a short string that is also a part of a path.

    cut  := "none" | part ("+" part)*
    part := target "-" rule ["-" sublayer]
    target   := component | stack                     vision, language, action, vision.dino, ...
    rule     := "half"                                all odd-indexed blocks go            (the paper's Drop Half, "Uniform")
              | "ends"                                the first and the last block stay    (the paper's Keep 2, "Endpoints")
              | metric "-" k                          the k least important blocks go, by the scores of that metric
              | "keep-" i ("_" i)*                    exactly these blocks stay
    sublayer := "attention" | "mlp"                   of the chosen blocks only this part goes (the paper's Table 2); with a metric
                                                      the parts are chosen by scores of their own, `gateprobe.mlp`

Indices are those of the *undropped* model. `+` is a union of what goes. A cut has one spelling: `str(parse_cut(text)) == text`.
Everything here is text; which blocks a cut means for one policy is `dtr.dropping.plan`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from dtr.errors import UnknownName, unknown

COMPONENTS = ("vision", "language", "action")
METRICS = (
    *("gateprobe", "taylor", "igia", "fisher", "hessian", "cossim", "cossim_contiguous"),
    *("leave_one_out", "sleb", "magnitude", "random"),
)
"""Metrics that give a score a block; `dtr.importance` has a file of each."""
SELECTIONS = ("half", "ends")
"""Selections that need no score."""
SUBLAYERS = ("attention", "mlp")
"""The parts of a transformer block; `dtr.policies.parts` has them."""

NUMBER = re.compile(r"0|[1-9][0-9]*")
EXAMPLES = tuple(
    f"{c}-{r}" for c, r in product(COMPONENTS, (*SELECTIONS, *(f"{m}-9" for m in METRICS), "keep-0_5", "half-mlp", "half-attention"))
)


@dataclass(frozen=True)
class Part:
    """One term of a cut: on `target` (a component or one of its stacks), what `rule` chooses goes.

    rule: "half", "ends", "keep" (with `keep`, ascending indices) or a metric (with `count`, how many go).
    sublayer: None for whole blocks.
    """

    target: str
    rule: str
    count: int = 0
    keep: tuple[int, ...] = ()
    sublayer: str | None = None

    @property
    def component(self) -> str:
        """vision, language or action."""
        return self.target.split(".")[0]

    @property
    def metric(self) -> str | None:
        """The name of the scores that this part needs, or None: the metric, and of what part where not of whole blocks."""
        return scored(self.rule, self.sublayer or "block") if self.rule in METRICS else None

    def __str__(self) -> str:
        words = [self.target, self.rule]
        if self.rule == "keep":
            words.append("_".join(map(str, self.keep)))
        elif self.metric:
            words.append(str(self.count))
        return "-".join(words + ([self.sublayer] if self.sublayer else []))


def scored(metric: str, granularity: str) -> str:
    """The name of a score: `gateprobe` of blocks, `gateprobe.mlp` of their MLPs."""
    return metric if granularity == "block" else f"{metric}.{granularity}"


@dataclass(frozen=True)
class Cut:
    """A union of parts; no part at all is the cut `none`."""

    parts: tuple[Part, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores that this cut needs, without repetition."""
        return tuple(dict.fromkeys(part.metric for part in self.parts if part.metric))

    def __str__(self) -> str:
        return "+".join(map(str, self.parts)) or "none"


def parse_cut(text: str) -> Cut:
    """Read a cut. Raises UnknownName, with the nearest name that exists, for anything the grammar does not know."""
    if text == "none":
        return Cut()
    parts = tuple(parse_part(piece, text) for piece in text.split("+"))
    twice = next((part for i, part in enumerate(parts) if part in parts[:i]), None)
    if twice is not None:
        raise UnknownName(f"unknown cut {text!r}: {str(twice)!r} is in it twice; write it once.")
    return Cut(parts)


def parse_part(text: str, whole: str) -> Part:
    """Read one term `text` of the cut `whole`."""
    target, *words = text.split("-")
    component, *tower = target.split(".")
    if not words:
        raise unknown("cut", whole, ("none", *EXAMPLES))
    if component not in COMPONENTS or len(tower) > 1 or not all(tower):
        raise unknown("component", target, COMPONENTS, f"A cut like {whole!r} starts with one of them.")
    sublayer = words.pop() if words[-1] in SUBLAYERS else None
    match words:
        case [("half" | "ends") as rule]:
            return Part(target, rule, sublayer=sublayer)
        case ["keep", indices] if all(NUMBER.fullmatch(i) for i in indices.split("_")):
            keep = tuple(int(i) for i in indices.split("_"))
            if list(keep) != sorted(set(keep)):
                ascending = "_".join(map(str, sorted(set(keep))))
                raise UnknownName(
                    f"unknown cut {whole!r}: kept blocks are written once each and ascending, here {target}-keep-{ascending}."
                )
            return Part(target, "keep", keep=keep, sublayer=sublayer)
        case [metric, count] if metric in METRICS:
            if not NUMBER.fullmatch(count) or count == "0":
                raise UnknownName(
                    f"unknown cut {whole!r}: after {metric} comes how many blocks go, as in {target}-{metric}-9, not {count!r}."
                )
            return Part(target, metric, count=int(count), sublayer=sublayer)
        case [metric, count] if NUMBER.fullmatch(count) and metric != "keep":
            raise unknown("metric", metric, METRICS, f"It is in the cut {whole!r}.")
        case [rule] if rule in METRICS:
            raise UnknownName(f"unknown cut {whole!r}: say how many blocks go, as in {target}-{rule}-9.")
    raise unknown("cut", whole, ("none", *EXAMPLES))
