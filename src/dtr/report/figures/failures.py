"""Contact sheet of failures: the last picture of failed episodes, spread over the tasks. Numbers say how often, pictures say how.

Chosen episodes are played once more with every step drawn. One that does not end as its record says is never a picture: on the kind of
processor that the record is of it is an error; on another, where last digits differ, it is left out and counted.
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
from dtr.provenance import cpu_model, read_json, sha256_file
from dtr.report.figures.style import new_figure
from dtr.report.figures.tasks import short_task
from dtr.rollout.episode import Episode, Key, read_episodes
from dtr.rollout.protocol import Protocol
from dtr.rollout.worker import Array, Order

if TYPE_CHECKING:
    from dtr.rollout.session import Session

MOST = 12


def choose(episodes: Sequence[Episode], most: int = MOST) -> list[Episode]:
    """At most `most` failures: the first of every task, then the second of every task, and so on."""
    ranked: dict[int, int] = {}
    order = []
    for episode in sorted((e for e in episodes if e.outcome == "failure"), key=lambda e: e.key):
        ranked[episode.task_index] = ranked.get(episode.task_index, -1) + 1
        order.append((ranked[episode.task_index], episode.key, episode))
    return sorted((episode for *_, episode in sorted(order)[:most]), key=lambda e: e.key)


def draw(policy: Path, episodes: Path, protocol: Protocol, workers: int = 1, device: str = "cpu") -> Figure:
    """Play the chosen failures of an episode file again and draw how they end."""
    records = read_episodes(episodes)
    chosen = choose(records)
    pictures = play(policy, chosen, protocol, workers, device, elsewhere(episodes)) if chosen else {}
    shown = [episode for episode in chosen if episode.key in pictures]
    columns = min(6, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = new_figure(1.25 * max(columns, 4), 0.4 + 1.55 * rows)
    failed = sum(e.outcome == "failure" for e in records)
    others = f"\n{len(chosen) - len(shown)} more end otherwise on this processor" if len(shown) < len(chosen) else ""
    figure.suptitle(f"{records[0].suite}: {len(shown)} of {failed} failures ({len(records)} episodes), last picture{others}", fontsize=8)
    for ax in (axes := figure.subplots(rows, columns, squeeze=False).ravel()):
        ax.axis("off")
    for ax, episode in zip(axes, shown, strict=False):
        ax.imshow(pictures[episode.key], interpolation="nearest")
        ax.set_title(wrapped(f"{short_task(episode.task, 60)}, state {episode.init_state}"), fontsize=5.5)
    return figure


def wrapped(text: str, width: int = 27) -> str:
    """The text in lines of about `width` letters."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def elsewhere(episodes: Path) -> bool:
    """Whether an episode file was played on another kind of processor than this one; where nothing says so, it was not."""
    beside = Path(f"{episodes}.run.json")
    return beside.is_file() and read_json(beside).get("cpu", cpu_model()) != cpu_model()


def play(
    policy: Path, chosen: Sequence[Episode], protocol: Protocol, workers: int, device: str = "cpu", other: bool = False
) -> dict[Key, Array]:
    """Key -> (H, W, 3) uint8, the last picture of the episode, played again (`last_pictures`)."""
    from dtr.policies.compression import executed, kernels_of
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.rollout.arena import local
    from dtr.rollout.inference import build_inference
    from dtr.rollout.run import plan
    from dtr.rollout.session import Session

    probe(device)
    tasks, loaded = local(chosen[0].suite).suite, load_policy(policy, device=device)
    infer = build_inference(
        executed(loaded.policy, kernels_of(loaded.header)), loaded.processor, protocol, [t.language for t in tasks.tasks]
    )
    session = Session(infer, protocol, tasks, sha256_file(policy)[:16], workers, 300.0)
    known = {episode.key for episode in chosen}
    return last_pictures(session, [order for order in plan(protocol, tasks) if order.key in known], other)


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
