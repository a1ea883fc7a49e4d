"""The record of one rollout, the file of many, and the journal in which they arrive.

A finished file `<suite>.jsonl` holds one episode a line, sorted by key: equal inputs give equal bytes, whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from dtr.errors import BadRecord, DiskFull, DtrError
from dtr.provenance import write_text

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Outcome = Literal["success", "failure", "error"]
OPTIONAL = ("perturbation", "instruction", "assets", "meant", "followed")
"""Fields of an episode that older records do not have."""


@dataclass(frozen=True, order=True)
class Key:
    """What names an episode: the same key under the same conditions and policy is the same episode."""

    suite: str
    task_index: int
    init_state: int
    seed: int

    def __str__(self) -> str:
        return f"{self.suite}/{self.task_index}/{self.init_state}"


@dataclass(frozen=True)
class Episode:
    """One rollout. `error` is not `failure`: it says that the episode could not be run, and enters no success rate.

    Holds no time and no host: equal runs give equal records. `trace` digests all that the policy saw and did; on another processor it may
    differ where everything else is equal.
    """

    suite: str
    task: str
    task_index: int
    init_state: int
    seed: int
    outcome: Outcome
    steps: int
    inferences: int
    trace: str | None
    error: str | None
    conditions: str
    policy: str
    perturbation: str | None = None
    """`camera-3`, or nothing."""
    instruction: str | None = None
    """`blank`, `swapped` or `shuffled`, or nothing."""
    assets: str | None = None
    """`stand-in` where the scenes were not LIBERO's own (`dtr.sim.assets`), or nothing."""
    meant: str | None = None
    """The other task whose instruction was told (`swapped`), if it is possible in this scene, or nothing."""
    followed: bool | None = None
    """Whether the goal of `meant` held in any step, or nothing. `outcome` is about the task's own goal."""

    @property
    def key(self) -> Key:
        """The episode's name."""
        return Key(self.suite, self.task_index, self.init_state, self.seed)

    @property
    def line(self) -> str:
        """The record as one line of JSON; what is optional stands there only if there is any."""
        fields = {key: value for key, value in asdict(self).items() if value is not None or key not in OPTIONAL}
        return json.dumps(fields, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def label(self) -> str:
        """The suite with its variant: `embedded_goal+camera-3`."""
        return "+".join(part for part in (self.suite, self.perturbation, self.instruction) if part is not None)

    @classmethod
    def parse(cls, line: str, where: str) -> Episode:
        """The episode of one line, found at `where`. Raises BadRecord."""
        try:
            value: Any = json.loads(line)
        except ValueError as error:
            raise BadRecord(f"{where} is no JSON ({error}); delete the file and roll out again with `dtr rollout`.") from error
        fault = next(iter(_validator().iter_errors(value)), None)
        if fault is not None:
            raise BadRecord(f"{where} is no episode: {fault.json_path}: {fault.message[:200]}; write the file again with `dtr rollout`.")
        return cls(**value)


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # not at the top: worker processes need the keys only

    from dtr.records import schema

    return Draft202012Validator(schema("episode"))


def write_episodes(path: str | Path, episodes: Iterable[Episode]) -> None:
    """Write the finished file: one line each, sorted by key, in one step."""
    write_text(path, "".join(episode.line for episode in sorted(episodes, key=lambda episode: episode.key)))


def read_episodes(path: str | Path) -> list[Episode]:
    """The episodes of a finished file. Raises BadRecord when it is missing, empty, no such file, or names an episode twice."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecord(f"expected episodes at {path}, but they cannot be read ({error}); write them with `dtr rollout`.") from error
    episodes = [Episode.parse(line, f"{path} line {number}") for number, line in enumerate(lines, 1)]
    if len({episode.key for episode in episodes}) < max(1, len(episodes)):
        raise BadRecord(f"{path} is empty or holds an episode twice; delete it and roll out again with `dtr rollout`.")
    return episodes


class Journal:
    """Episodes as they arrive, each on the disk before the next: what a killed run has finished is never run again.

    One line is appended and flushed to the disk at a time, so a kill can tear the last line only; that line is cut off on opening.
    Of two records of one key the later counts: a retried error is simply appended. One process at a time may hold it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.file = open(path, "a+b")  # noqa: SIM115  (held for the journal's life, closed in __exit__)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.file.close()
            raise DtrError(f"another process is writing {path}: wait for it, or give this run another --state-dir.") from error
        self.file.seek(0)
        whole, _, torn = self.file.read().rpartition(b"\n")
        if torn:
            self.file.truncate(len(whole) + bool(whole))
        lines = whole.decode().splitlines()
        episodes = [Episode.parse(line, f"{path} line {number}") for number, line in enumerate(lines, 1)]
        self.episodes = {episode.key: episode for episode in episodes}
        self.kept = set(self.episodes)
        """Keys of the episodes on the disk."""

    def append(self, episode: Episode) -> None:
        """Keep `episode` for good. Raises DiskFull."""
        try:
            self.file.write(episode.line.encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"no room on the disk for {self.path}: free some space there and run the same command again.") from error
            raise
        self.episodes[episode.key] = episode
        self.kept.add(episode.key)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # a full disk once more: `append` has said so, and a torn last line is cut off on opening
            self.file.close()
