"""Two arms that are one policy are played once: the second takes the records of the first, and says so.

An episode is a function of (weights, processor, protocol, suite, initial state, seed). Where two arms chose the same blocks and one
training is behind both (dtr.recovery.siblings), their files are equal, or differ in the names of the plan alone, so their episodes are the
same to the bit. What is taken is held against the weights themselves, byte for byte: arms that were trained apart share nothing. The run
record is the first arm's, with the file that it was taken from (`shared_with`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from dtr.dropping.same_blocks import same_blocks
from dtr.errors import DtrError
from dtr.lenders import lenders, origin, record_of
from dtr.policies.file import read_header
from dtr.provenance import sha256_file, write_json
from dtr.rollout.episode import Episode, read_episodes, write_episodes
from dtr.rollout.session import Part

CHUNK = 1 << 24


def take(part: Part, policy: Path, folder: Path) -> Path | None:
    """Write the episodes of `part` from those of another arm below `folder` that is the same policy; the file that they are of.

    None, and nothing is written, where there is no such arm, or it has not played all of this under the same conditions. A place is
    `<folder>/<cut>/<data>.<recipe>/seed<k>/rollouts/<protocol>/<suite>.jsonl`, beside `seed<k>/<policy's name>`.
    """
    place = Path(*part.out.parts[-5:])
    for path in lenders(folder.glob(f"*/{place}"), "rollout"):
        other = path.parents[2] / policy.name
        if path.resolve() == part.out.resolve() or (sibling := sibling_digest(policy, other)) is None:
            continue
        if (episodes := finished(part, path, sibling)) is not None:
            write_episodes(part.out, episodes)
            write_json(f"{part.out}.run.json", dict(record_of(path)) | {"shared_with": origin(path)})
            return path
    return None


def finished(part: Part, path: Path, sibling: str) -> list[Episode] | None:
    """The episodes of all orders of `part`, of the policy `sibling` in `path`, under the part's own policy; None where one is missing."""
    try:
        known = {e.key: e for e in read_episodes(path) if (e.policy, e.conditions) == (sibling, part.session.conditions)}
    except DtrError:  # somebody else's trouble: this arm can be played
        return None
    own = [known.get(order.key) for order in part.orders]
    ended = [replace(e, policy=part.session.policy) for e in own if e is not None and e.outcome != "error"]
    return ended if len(ended) == len(own) else None


@cache
def sibling_digest(policy: Path, other: Path) -> str | None:
    """What the records of `other` call it, where it is the same policy as `policy`. Read once for all the suites of a call."""
    return sha256_file(other)[:16] if other.is_file() and same_policy(policy, other) else None


def same_policy(policy: Path, other: Path) -> bool:
    """Whether two policy files differ at most in how their plans' blocks were chosen."""
    try:
        one, two = read_header(policy), read_header(other)
    except DtrError:
        return False
    if not same_blocks(one["plan"], two["plan"]) or one | {"plan": None} != two | {"plan": None}:
        return False
    return same_weights(policy, other)  # shards stand in the header by their hashes


def same_weights(policy: Path, other: Path) -> bool:
    """Whether two safetensors files hold the same bytes behind their headers."""
    with open(policy, "rb") as one, open(other, "rb") as two:
        for file in (one, two):
            file.seek(8 + int.from_bytes(file.read(8), "little"))
        while (piece := one.read(CHUNK)) == two.read(CHUNK):
            if not piece:
                return True
    return False
