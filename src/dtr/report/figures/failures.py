"""Contact sheet of failures: the last picture of failed episodes, spread over the tasks. Numbers say how often, pictures say how.

Chosen episodes are played once more with every step drawn; one that does not end as its record says is an error, never a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from dtr.errors import BadRecord
from dtr.report.figures.style import new_figure
from dtr.report.figures.tasks import short_task
from dtr.rollout.episode import Episode, Key, read_episodes
from dtr.rollout.protocol import Protocol
from dtr.rollout.worker import Array

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
    pictures = play(policy, chosen, protocol, workers, device) if chosen else {}
    columns = min(6, max(1, len(chosen)))
    rows = max(1, math.ceil(len(chosen) / columns))
    figure = new_figure(1.25 * max(columns, 4), 0.4 + 1.55 * rows)
    failed = sum(e.outcome == "failure" for e in records)
    figure.suptitle(f"{records[0].suite}: {len(chosen)} of {failed} failures ({len(records)} episodes), last picture", fontsize=8)
    for ax in (axes := figure.subplots(rows, columns, squeeze=False).ravel()):
        ax.axis("off")
    for ax, episode in zip(axes, chosen, strict=False):
        ax.imshow(pictures[episode.key], interpolation="nearest")
        ax.set_title(wrapped(f"{short_task(episode.task, 60)}, state {episode.init_state}"), fontsize=5.5)
    return figure


def wrapped(text: str, width: int = 27) -> str:
    """The text in lines of about `width` letters."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def play(policy: Path, chosen: Sequence[Episode], protocol: Protocol, workers: int, device: str = "cpu") -> dict[Key, Array]:
    """Key -> (H, W, 3) uint8, the last picture of the episode, played again. Raises BadRecord when one ends otherwise."""
    from dtr.policies.compression import executed, kernels_of
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.provenance import sha256_file
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
    known = {episode.key: episode for episode in chosen}
    orders = [replace(order, film=True) for order in plan(protocol, tasks) if order.key in known]
    found: dict[Key, Array] = {}
    with closing(session.engine.run(orders)) as results:
        for result in results:
            again, key = session.record(result), result.order.key
            if again.outcome != known[key].outcome or result.finished is None or result.finished.film is None:
                raise BadRecord(
                    f"played again, {key} ended as {again.outcome} ({again.error}), its record says failure: roll out again here."
                )
            found[key] = result.finished.film[-1]
    return found
