"""Contact sheet of failures: the last picture of failed episodes, spread over the tasks. Numbers say how often, pictures say how.

Of several policies it is of the worst that still succeeds sometimes.

Chosen episodes are played once more with every step drawn. One that does not end as its record says is never a picture: on the kind of
processor that the record is of it is an error; on another, where last digits differ, it is left out and counted, and another failure is
tried in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from dtr.errors import BadRecord
from dtr.policies.file import read_header
from dtr.provenance import cpu_model, read_json, sha256_file
from dtr.report.behind import cut_of
from dtr.report.figures.style import MODEL, new_figure
from dtr.report.figures.tasks import short_task
from dtr.rollout.episode import Episode, Key, read_episodes
from dtr.rollout.protocol import Protocol
from dtr.rollout.worker import Array, Order

if TYPE_CHECKING:
    from dtr.rollout.session import Session

MOST, TRIED = 12, 36
"""Pictures of a sheet; episodes that are played again for it at most."""


def failures(episodes: Sequence[Episode]) -> list[Episode]:
    """The failures, spread over the tasks: the first of every task, then the second of every task, and so on."""
    ranked: dict[int, int] = {}
    order = []
    for episode in sorted((e for e in episodes if e.outcome == "failure"), key=lambda e: e.key):
        ranked[episode.task_index] = ranked.get(episode.task_index, -1) + 1
        order.append((ranked[episode.task_index], episode.key, episode))
    return [episode for *_, episode in sorted(order)]


def draw(policies: Sequence[Path], episodes: Sequence[Path], protocol: Protocol, workers: int = 1, device: str = "cpu") -> Figure:
    """Play the chosen failures of an episode file again and draw how they end; of several files, of the worst."""
    read = [read_episodes(path) for path in episodes]
    rates = [sum(e.outcome == "success" for e in records) / len(records) for records in read]
    policy, path, records = list(zip(policies, episodes, read, strict=True))[worst(rates)]
    failed = failures(records)
    pictures, played = play(policy, failed, protocol, workers, device, elsewhere(path)) if failed else ({}, 0)
    shown = sorted((episode for episode in failed if episode.key in pictures), key=lambda e: e.key)
    columns = min(6, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = new_figure(1.25 * max(columns, 4), 0.4 + 1.55 * rows)
    lines = [f"{arm(policy)}, {records[0].suite}", f"last pictures of {len(shown)} of {len(failed)} failures ({len(records)} episodes)"]
    lines[0] += f": the worst of {among(rates)}" if len(rates) > 1 else ""
    lines += [f"{played - len(shown)} more end otherwise on this processor"] if len(shown) < played else []
    figure.suptitle("\n".join(lines), fontsize=8)
    for ax in (axes := figure.subplots(rows, columns, squeeze=False).ravel()):
        ax.axis("off")
    for ax, episode in zip(axes, shown, strict=False):
        ax.imshow(pictures[episode.key], interpolation="nearest")
        ax.set_title(wrapped(f"{short_task(episode.task, 60)}, state {episode.init_state}"), fontsize=5.5)
    return figure


def worst(rates: Sequence[float]) -> int:
    """Which of several success rates is the lowest above 0, since one that never succeeds shows little; the first if all are 0."""
    return min((i for i, rate in enumerate(rates) if rate > 0), key=rates.__getitem__, default=0)


def among(rates: Sequence[float]) -> str:
    """Of how many the worst was chosen, and how many never succeed."""
    never = sum(rate == 0 for rate in rates)
    return f"{len(rates)} cuts" + (f", leaving out {never} without any success" if 0 < never < len(rates) else "")


def arm(policy: Path) -> str:
    """Whose failures these are: policy and cut."""
    header = read_header(policy)
    return f"{MODEL.get(header['policy'], header['policy'])} {cut_of(policy, header)}"


def wrapped(text: str, width: int = 27) -> str:
    """The text in lines of about `width` letters."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def elsewhere(episodes: Path) -> bool:
    """Whether an episode file was played on another kind of processor than this one; where nothing says so, it was not."""
    beside = Path(f"{episodes}.run.json")
    return beside.is_file() and read_json(beside).get("cpu", cpu_model()) != cpu_model()


def play(
    policy: Path, failed: Sequence[Episode], protocol: Protocol, workers: int, device: str = "cpu", other: bool = False
) -> tuple[dict[Key, Array], int]:
    """Key -> (H, W, 3) uint8, the last picture of an episode, played again (`last_pictures`), and how many were played."""
    from dtr.policies.compression import executed, kernels_of
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.rollout.arena import local
    from dtr.rollout.inference import build_inference
    from dtr.rollout.run import orders_of
    from dtr.rollout.session import Session

    probe(device)
    tasks, loaded = local(failed[0].suite).suite, load_policy(policy, device=device)
    infer = build_inference(
        executed(loaded.policy, kernels_of(loaded.header)), loaded.processor, protocol, [t.language for t in tasks.tasks]
    )
    session = Session(infer, protocol, tasks, sha256_file(policy)[:16], workers, 300.0)
    orders = {order.key: order for order in orders_of(protocol, tasks)}
    return fill(session, [orders[episode.key] for episode in failed], other)


def fill(session: Session, orders: Sequence[Order], other: bool, most: int = MOST, tried: int = TRIED) -> tuple[dict[Key, Array], int]:
    """`most` last pictures, as far as there are failures that end so again among the first `tried`; and how many were played."""
    found: dict[Key, Array] = {}
    played = 0
    while part := orders[played : min(played + most - len(found), tried)]:
        found |= last_pictures(session, part, other)
        played += len(part)
    return found, played


def last_pictures(session: Session, orders: Sequence[Order], other: bool) -> dict[Key, Array]:
    """The last picture of recorded failures, played again; of those alone that fail again where the record is of another processor.

    Raises BadRecord when one ends otherwise on the processor of its record, or without an end (an error) anywhere.
    """
    found: dict[Key, Array] = {}
    with closing(session.engine.run([replace(order, film=True) for order in orders])) as results:
        for result in results:
            again, key = session.record(result), result.order.key
            if again.outcome == "error" or result.finished is None or result.finished.film is None:
                raise BadRecord(f"played again, {key} did not end ({again.error}), its record says failure: mend that, then draw again.")
            if again.outcome == "failure":
                found[key] = result.finished.film[-1]
            elif not other:
                raise BadRecord(f"played again, {key} ended as {again.outcome}, its record says failure: roll out again here.")
    return found
