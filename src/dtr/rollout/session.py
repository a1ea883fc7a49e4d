"""One policy under one protocol on one suite: from orders to records, with a journal in between, and to films."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
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
        path = state_dir / f"{self.suite}-{digest([self.policy, self.conditions])}.jsonl"
        with Journal(path) as journal, stopped_by_signals(journal, len(orders)):
            journal.episodes = self.written(out) | journal.episodes
            finished = {key for key, episode in journal.episodes.items() if episode.outcome != "error"}
            missing = [order for order in orders if order.key not in finished]
            with Progress(f"rollout {self.suite}", len(orders), "episode", done=len(orders) - len(missing)) as progress:
                for episode in self.play(missing):
                    journal.append(episode)
                    ended = [journal.episodes[order.key] for order in orders if order.key in journal.episodes]
                    done = [e.outcome == "success" for e in ended if e.outcome != "error"]
                    progress.update(1, success_rate=sum(done) / max(1, len(done)))
            episodes = [journal.episodes[order.key] for order in orders]
            write_episodes(out, episodes)
            if all(episode.outcome != "error" for episode in episodes) and not journal.kept - {order.key for order in orders}:
                path.unlink()
        return episodes

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


@contextmanager
def stopped_by_signals(journal: Journal, total: int) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into Interrupted; what is finished is in the journal."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{len(journal.episodes)} of {total} episodes are kept in {journal.path}"
        raise Interrupted(f"rollout stopped: {kept}; the same command goes on from there.") from None
    finally:
        signal.signal(signal.SIGTERM, previous)
