"""How far two ways of running the same episodes agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtr.errors import BadRecord
from dtr.rollout.episode import Episode, Key


@dataclass(frozen=True)
class Agreement:
    """`pairs` episodes of one key on both sides, of which `flipped` ended otherwise and `identical` were equal bit for bit."""

    pairs: int
    identical: int
    flipped: tuple[Key, ...]


def agreement(one: Sequence[Episode], other: Sequence[Episode]) -> Agreement:
    """Compare episodes by key; keys of one side only are left out. Raises BadRecord when there is no common key."""
    others = {episode.key: episode for episode in other}
    pairs = [(episode, others[episode.key]) for episode in one if episode.key in others]
    if not pairs:
        raise BadRecord("the two sets of episodes have no initial state in common: compare runs of one suite and seed.")
    identical = sum(a.trace is not None and a.trace == b.trace for a, b in pairs)
    return Agreement(len(pairs), identical, tuple(sorted(a.key for a, b in pairs if a.outcome != b.outcome)))
