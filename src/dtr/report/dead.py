"""How much of a cut was free: the dropped blocks that are dead, that is, that no action depends on.

They are found twice, and both must agree:
    by architecture    nothing reads the block's output                          plan.json, `dead`
    by gradient        dL/d alpha_i = 0, exactly, on every calibration sample    gateprobe.json, a score of 0

Our classes do not run a dead block, so that its score is 0 follows; what is found out here is a block that counts as alive and has no
gradient, and scores of another policy. That the gradient is 0 of a dead block that *is* run, as the official code runs it, is what
`dtr parity` compares, without tolerance.

Beside the columns of every table a line of its CSV has
    blocks_dropped     blocks that went, wholly or their attention or MLP alone
    blocks_free        how many of these are dead, so that their removal costs no success and shows nothing
    dead_dropped       which they are
    dead_kept          dead ones among those that stay: they are in `size`, and do nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtr.dropping.scores import Score, read_score
from dtr.errors import BadRecord
from dtr.records import read_record

COLUMNS = ("blocks_dropped", "blocks_free", "dead_dropped", "dead_kept")
HEAD = "dropped"
MEANING = (
    "`dropped`: blocks that went, of some rows only their attention or MLP; no action depends on a dead one, so it went for free and shows "
    "nothing."
)


@dataclass(frozen=True)
class Gone:
    """What a plan drops: names of blocks and parts, the dead among them, the dead that stay; the head's width before and after, or None."""

    dropped: tuple[str, ...]
    dead: tuple[str, ...]
    dead_kept: tuple[str, ...]
    width: tuple[int, int] | None

    def columns(self) -> dict[str, str]:
        """What it contributes to a line of the CSV."""
        values = (str(len(self.dropped)), str(len(self.dead)), " ".join(self.dead), " ".join(self.dead_kept))
        return dict(zip(COLUMNS, values, strict=True))

    def shown(self) -> str:
        """The entry of the markdown: `9 (1 dead)`."""
        narrowed = [f"width {self.width[0]} to {self.width[1]}"] if self.width and self.width[0] != self.width[1] else []
        count = [f"{len(self.dropped)} ({len(self.dead)} dead)"] if self.dropped else []
        return ", ".join([*count, *narrowed]) or "-"


def read_gone(plan: str | Path, scores: Mapping[str, Score]) -> Gone:
    """What the plan in a file drops. `scores`: gate gradients by the digest of the policy that they are of.

    Raises BadRecord where architecture and gradient do not find the same blocks dead.
    """
    value = read_record(plan, "plan")
    gone, width = names_of(value), value["width"]
    dead = tuple(value["dead"]["dropped"])
    if (score := scores.get(value["source"])) is not None:
        zero = {name for name, block in score.blocks.items() if block.score == 0.0}
        for name in gone:
            if (name in dead) != (block_of(name) in zero):
                found = "dead, but its gate gradient is not 0" if name in dead else "alive, but its gate gradient is 0 on every sample"
                raise BadRecord(
                    f"{plan}: by architecture {name} is {found}: score the policy again with `dtr score`, or correct its class."
                )
    return Gone(gone, dead, tuple(value["dead"]["kept"]), (width["before"], width["after"]) if width else None)


def names_of(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """`language.7` of every block that a plan drops, `language.7.mlp` of every part."""
    blocks = [f"{stack}.{i}" for stack, dropped in plan["dropped"].items() for i in dropped]
    parts = [f"{stack}.{i}.{part}" for part, stacks in plan.get("parts", {}).items() for stack, lost in stacks.items() for i in lost]
    return (*blocks, *parts)


def block_of(name: str) -> str:
    """`language.7` for itself and for its parts: a part is dead with its block."""
    return name if name.rsplit(".", 1)[-1].isdigit() else name.rsplit(".", 1)[0]


def read_gradients(paths: Iterable[Path]) -> dict[str, Score]:
    """Gate gradients by the digest of the policy that they are of. Raises BadRecord for another metric or for parts of blocks."""
    scores = [read_score(path) for path in paths]
    if wrong := next((score.metric for score in scores if score.metric != "gateprobe"), None):
        raise BadRecord(f"a table compares dead blocks with gate gradients, got the scores of {wrong}: name those of gateprobe.")
    return {score.source: score for score in scores}
