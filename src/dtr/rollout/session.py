"""One policy under one protocol on one suite: from orders to records, with a journal in between, and to films.

Several sessions of one policy can be played together, by the same workers: each still has its journal and its file, with the bytes that it
would have alone.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dtr.errors import BadRecord, Interrupted
from dtr.progress import Progress
from dtr.provenance import digest
from dtr.rollout.engine import Engine, Infer, Result
from dtr.rollout.episode import Episode, Journal, Key, Outcome, read_episodes, write_episodes
from dtr.rollout.protocol import Protocol, marked
from dtr.rollout.video import write_contact_sheet, write_film
from dtr.rollout.worker import Factory, Order, build_simulator
from dtr.sim.suites import Suite, suite_digest


class Session:
    """One policy under one protocol on one suite."""

    def __init__(
        self,
        infer: Infer,
        protocol: Protocol,
        tasks: Suite,
        policy: str,
        workers: int,
        hang_s: float,
        factory: Factory = build_simulator,
        scenes: str | None = None,
    ) -> None:
        """`scenes`: the digest of what is played in; by default the suite's own."""
        self.engine = Engine(infer, protocol, workers, factory, hang_s)
        self.suite, self.policy, self.variant, self.assets = tasks.name, policy, tasks.variant, tasks.assets
        limit = protocol.limit(tasks.name, tasks.max_steps)
        self.conditions = protocol.conditions(limit, marked(scenes or suite_digest(tasks.name), tasks.assets), tasks.variant)
        self.played = 0

    def roll_out(self, orders: Sequence[Order], state_dir: Path, out: Path) -> list[Episode]:
        """Play what is not finished yet (errors of earlier runs are played again); writes the episodes of all orders to `out`.

        Finished are those that stand in `out` already, if they are of this policy file and these conditions, and those in the journal
        that belongs to both. An episode leaves the journal only when it stands in `out`.
        """
        return roll_out([Part(self, orders, out)], state_dir)[0]

    def journal(self, state_dir: Path) -> Journal:
        """Where the episodes of this policy file under these conditions arrive."""
        return Journal(state_dir / f"{self.suite}-{digest([self.policy, self.conditions])}.jsonl")

    def written(self, out: Path) -> dict[Key, Episode]:
        """The episodes of this policy under these conditions in a file of an earlier call; none when there is no such file."""
        try:
            found = read_episodes(out) if out.exists() else []
        except BadRecord:
            return {}  # it is written anew
        return {e.key: e for e in found if (e.policy, e.conditions) == (self.policy, self.conditions)}

    def play(self, orders: Sequence[Order]) -> Iterator[Episode]:
        """Records as they come."""
        with closing(self.engine.run(orders)) as results:
            for result in results:
                self.played += 1
                yield self.record(result)

    def record(self, result: Result) -> Episode:
        """The record of one finished or failed order."""
        order, end = result.order, result.finished
        outcome: Outcome = "error" if end is None else "success" if end.success else "failure"
        steps, inferences, trace = (end.steps, end.inferences, end.trace) if end else (0, 0, None)
        k = order.key
        name = (k.suite, order.task.name, k.task_index, k.init_state, k.seed)
        perturbation = None if self.variant.perturbation is None else str(self.variant.perturbation)
        followed = None if end is None else end.followed
        varied = (perturbation, self.variant.instruction, self.assets, order.meant and order.meant[0], followed)
        return Episode(*name, outcome, steps, inferences, trace, result.error, self.conditions, self.policy, *varied)

    def film(self, orders: Sequence[Order], known: Mapping[Key, Episode], folder: Path) -> None:
        """Play the orders once more with every step rendered. Raises BadRecord when one of them ends otherwise than it did.

        An `error` is no end: one in the record may be over now, and one that comes while filming is the machine's, not the episode's.
        """
        last, films = [], 0
        with closing(self.engine.run([replace(order, film=True) for order in orders])) as results:
            for result in results:
                again, key = self.record(result), result.order.key
                if again.outcome == "error":
                    print(f"warning: no film of {key}, which could not be run: {again.error}", file=sys.stderr)
                    continue
                if known[key].outcome == "error":
                    now = f"its record is an error, and now it ended as {again.outcome}"
                    print(f"warning: {key}: {now}; the same command plays it again and mends the record.", file=sys.stderr)
                elif again != known[key]:
                    raise BadRecord(
                        f"filmed, {key} ended otherwise: expected {known[key].line.strip()}, got {again.line.strip()}; this is a bug."
                    )
                if result.finished is not None and result.finished.film is not None:
                    films += 1
                    write_film(folder / f"{key.suite}.{key.task_index}.{key.init_state}.{again.outcome}.mp4", result.finished.film)
                    if again.outcome == "failure":
                        last.append((key, result.finished.film[-1]))
        if last:
            write_contact_sheet(folder / "failures.png", [(str(key), picture) for key, picture in sorted(last, key=lambda item: item[0])])
        print(f"films of {films} episodes in {folder}", file=sys.stderr)


@dataclass(frozen=True)
class Part:
    """A session, what it plays and the file of its episodes."""

    session: Session
    orders: Sequence[Order]
    out: Path

    def missing(self, journal: Journal) -> list[Order]:
        """The orders that are not finished; errors are none."""
        finished = {key for key, episode in journal.episodes.items() if episode.outcome != "error"}
        return [order for order in self.orders if order.key not in finished]

    def ended(self, journal: Journal) -> list[Episode]:
        """The episodes that there are so far, in order."""
        return [journal.episodes[order.key] for order in self.orders if order.key in journal.episodes]


def roll_out(parts: Sequence[Part], state_dir: Path) -> list[list[Episode]]:
    """`Session.roll_out` of several sessions of one policy, protocol and factory, which differ in what is played; the episodes of each.

    Sessions that share one inference share workers and batches; an episode's bits depend on neither. A journal goes when all files stand.
    """
    with ExitStack() as stack:
        journals = [stack.enter_context(part.session.journal(state_dir)) for part in parts]
        for part, journal in zip(parts, journals, strict=True):
            journal.episodes = part.session.written(part.out) | journal.episodes
        stack.enter_context(stopped_by_signals(journals, sum(len(part.orders) for part in parts)))
        play_missing(parts, journals)
        found = [part.ended(journal) for part, journal in zip(parts, journals, strict=True)]
        for part, episodes in zip(parts, found, strict=True):
            write_episodes(part.out, episodes)
        for part, journal, episodes in zip(parts, journals, found, strict=True):
            if all(episode.outcome != "error" for episode in episodes) and not journal.kept - {order.key for order in part.orders}:
                journal.path.unlink()
    return found


def play_missing(parts: Sequence[Part], journals: Sequence[Journal]) -> None:
    """Play what the journals lack: one crew of workers for all parts whose requests have one shape."""
    pairs = list(zip(parts, journals, strict=True))
    total, left = sum(len(part.orders) for part in parts), sum(len(part.missing(journal)) for part, journal in pairs)
    what = parts[0].session.suite if len(parts) == 1 else f"{len(parts)} suites"
    with Progress(f"rollout {what}", total, "episode", done=total - left) as progress:
        for infer in {id(part.session.engine.infer): part.session.engine.infer for part in parts}.values():
            crew = [(part, journal) for part, journal in pairs if part.session.engine.infer is infer]
            due = [(order, part, journal) for part, journal in crew for order in part.missing(journal)]
            owner = {id(order): (part, journal) for order, part, journal in due}  # the engine hands back the very order that it got
            with closing(crew[0][0].session.engine.run([order for order, _, _ in due])) as results:
                for result in results:
                    part, journal = owner[id(result.order)]
                    part.session.played += 1
                    journal.append(part.session.record(result))
                    ended = [e.outcome == "success" for p, j in pairs for e in p.ended(j) if e.outcome != "error"]
                    progress.update(1, success_rate=sum(ended) / max(1, len(ended)))


@contextmanager
def stopped_by_signals(journals: Sequence[Journal], total: int) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into Interrupted; what is finished is in the journals."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        where = journals[0].path if len(journals) == 1 else journals[0].path.parent
        kept = f"{sum(len(journal.episodes) for journal in journals)} of {total} episodes are kept in {where}"
        raise Interrupted(f"rollout stopped: {kept}; the same command goes on from there.") from None
    finally:
        signal.signal(signal.SIGTERM, previous)
