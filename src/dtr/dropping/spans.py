"""Which blocks go when they have to lie side by side.

    d(s, m)        what a metric says of the m blocks of one stack that begin at block s
    stack:         best(m) = min over s of d(s, m),  best(0) = 0         of equal spans the deepest
    component:     min over m_1 + m_2 + ... = k of best_1(m_1) + best_2(m_2) + ...        one span a tower; of equal ones more of the first

A span that would leave a stack without a block that is alive is not looked at, as long as there is another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

Span = tuple[float, tuple[str, ...]]
"""What it costs, and which blocks it takes."""


def cheapest_spans(
    stacks: Mapping[str, Sequence[str]], spans: Mapping[str, Sequence[float]], count: int, alive: Collection[str]
) -> list[str]:
    """The names of `count` blocks. stacks: the blocks of each, shallow first; spans: block -> d of the 1, 2, ... blocks from there on."""
    best: dict[int, Span] = {0: (0.0, ())}
    for names in stacks.values():
        mine = stack_spans(names, spans, count, alive)
        together: dict[int, Span] = {}
        for before, (cost, taken) in best.items():
            for m, (more, span) in mine.items():
                n = before + m
                if n <= count and cost + more < together.get(n, (math.inf, ()))[0]:
                    together[n] = cost + more, taken + span
        best = together
    return list(best[count][1]) if count in best else [name for names in stacks.values() for name in names][-count:]


def stack_spans(names: Sequence[str], spans: Mapping[str, Sequence[float]], count: int, alive: Collection[str]) -> dict[int, Span]:
    """m -> the best span of m blocks of one stack."""
    best: dict[int, Span] = {0: (0.0, ())}
    for start, name in enumerate(names):
        for m, cost in enumerate(spans[name][:count], start=1):
            left = [other for other in (*names[:start], *names[start + m :]) if other in alive]
            if left and cost <= best.get(m, (math.inf, ()))[0]:
                best[m] = cost, tuple(names[start : start + m])
    return best
