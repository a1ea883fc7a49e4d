"""From episode files to outcomes that may be counted: whole, without errors, under one protocol, paired with the baseline's.

A file is one suite and one training seed. Whatever is wrong with it is said here, so that a number that exists is a number that counts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import read_run_record, sha256_file
from dtr.rollout.episode import Episode, read_episodes
from dtr.rollout.hello import beside, conditions_of, kept_hello, scenes_of
from dtr.rollout.protocol import Protocol, conditions_on, tasks_of
from dtr.sim.suites import MAX_STEPS
from dtr.stats import Paired, paired
from dtr.wire.robot import RobotHello

SHOWN = 5
"""Episodes named in a message before it says how many more there are."""


@dataclass(frozen=True)
class Run:
    """The outcomes of one suite (with its variant) and one training seed: task -> (trials,) booleans, by initial state from 0 on."""

    path: Path
    suite: str
    seed: int
    outcomes: Mapping[str, tuple[bool, ...]]
    assets: str | None = None
    hello: RobotHello | None = None
    """What the suite is, where it is none of ours."""

    @property
    def scenes(self) -> str | None:
        """The digest of a foreign suite; ours are checked by the conditions of their records."""
        return None if self.hello is None else scenes_of(self.hello)

    @property
    def flat(self) -> list[bool]:
        """All outcomes, task by task."""
        return [success for task in sorted(self.outcomes) for success in self.outcomes[task]]

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return sha256_file(self.path)


def succeeded(episode: Episode) -> bool:
    """Whether the task's own goal was reached."""
    return episode.outcome == "success"


def followed(episode: Episode) -> bool:
    """Whether the goal of what was said was reached. Raises BadRecord where nothing was said that could be."""
    if episode.followed is None:
        raise BadRecord(
            f"expected an episode under a swapped instruction that is possible in its scene, got {episode.key} of {episode.label}, "
            "which says nothing of following: roll out again, on a suite whose scenes have several goals (docs/language_pressure.md)."
        )
    return episode.followed


def read_run(path: Path, protocol: Protocol, judged: Callable[[Episode], bool] = succeeded) -> Run:
    """The outcomes in an episode file, or another judgement of each. Raises BadRecord for errors, gaps, a mixture, or another protocol."""
    episodes = read_episodes(path)
    refuse_errors(path, episodes)
    suites = sorted({episode.label for episode in episodes})
    if len(suites) > 1:
        raise BadRecord(f"expected one suite in {path}, got {', '.join(suites)}; write one file a suite with `dtr rollout`.")
    assets = next((episode.assets for episode in episodes if episode.assets), None)
    hello = None if suites[0].partition("+")[0] in MAX_STEPS else kept_hello(path, suites[0])
    expected = conditions_on(protocol, suites[0], assets) if hello is None else conditions_of(hello, protocol)
    found = sorted({episode.conditions for episode in episodes})
    if found != [expected]:
        raise BadRecord(
            f"{path} was rolled out under the conditions {', '.join(found)}, but the protocol {protocol.name} has {expected}"
            f"{'' if hello is None else f' on what {beside(path).name} beside it describes'}: roll out again."
        )
    known = tasks_of(protocol, suites[0]) if hello is None else list(range(len(hello.tasks)))
    wanted, have = known if protocol.tasks is None else sorted(protocol.tasks), sorted({episode.task_index for episode in episodes})
    if have != wanted:
        raise BadRecord(f"expected the tasks {wanted} of {suites[0]} in {path}, got {have}: roll out again under this protocol.")
    states: dict[str, dict[int, bool]] = {}
    for episode in episodes:
        states.setdefault(episode.task, {})[episode.init_state] = judged(episode)
    for task, by_state in states.items():
        missing = sorted(set(range(protocol.trials)) - set(by_state))
        if missing or len(by_state) != protocol.trials:
            raise BadRecord(
                f"expected the initial states 0 to {protocol.trials - 1} of {task} in {path}, got {len(by_state)} states"
                f"{f' without {missing[0]}' if missing else ''}; roll out again under this protocol."
            )
    outcomes = {task: tuple(by_state[i] for i in range(protocol.trials)) for task, by_state in states.items()}
    return Run(path, suites[0], training_seed(path), outcomes, assets, hello)


def refuse_errors(path: Path, episodes: Sequence[Episode]) -> None:
    """Raise BadRecord, with the command that plays them again, when any episode could not be run."""
    errors = [episode for episode in episodes if episode.outcome == "error"]
    if not errors:
        return
    keys = ", ".join(str(episode.key) for episode in errors[:SHOWN])
    more = f" and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    raise BadRecord(
        f"{len(errors)} of {len(episodes)} episodes in {path} could not be run ({keys}{more}: {errors[0].error}), "
        f"so there is no success rate; play only these again with `{rollout_command(path)}`."
    )


def rollout_command(path: Path) -> str:
    """The command that wrote `path`, from its run record."""
    argv = read_run_record(path).get("argv")
    return shlex.join(["dtr", *argv]) if argv else f"dtr rollout ... --out {path}"


def machine_of(path: Path) -> dict[str, Any] | None:
    """What a result can depend on of the machine that wrote `path`."""
    return telling(read_run_record(path)) or None


def telling(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a record says of its machine, what a result can depend on."""
    return {key: machine[key] for key in ("cpu", "cores", "python", "versions") if key in machine}


def training_seed(path: Path) -> int:
    """The number in the last `seed<k>` of a path, 0 without one."""
    found = re.findall(r"(?:^|[/._-])seed(\d+)(?=[/._-]|$)", str(path))
    return int(found[-1]) if found else 0


def pair(arm: Sequence[Run], baseline: Sequence[Run]) -> Paired:
    """All episodes of an arm beside the baseline's on the same suite, training seed, task and initial state."""
    others = {(run.suite, run.seed): run for run in baseline}
    if set(others) != {(run.suite, run.seed) for run in arm} or len(others) != len(arm):
        raise BadRecord(
            f"expected the baseline's suites and training seeds to be the arm's, got {names(baseline)} for {names(arm)}: "
            "give --baseline one file for each of --episodes."
        )
    total = Paired(0, 0, 0, 0)
    for run in arm:
        other = others[run.suite, run.seed]
        if run.scenes != other.scenes:
            raise BadRecord(
                f"{run.path} and {other.path} were played in different versions of {run.suite} ({run.scenes} and {other.scenes}): roll "
                "both out in one."
            )
        if {task: len(o) for task, o in run.outcomes.items()} != {task: len(o) for task, o in other.outcomes.items()}:
            raise BadRecord(f"{run.path} and {other.path} hold different tasks or initial states: roll both out under one protocol.")
        total += paired(run.flat, other.flat)
    return total


def names(runs: Sequence[Run]) -> str:
    """Suites and seeds, for a message."""
    return ", ".join(f"{run.suite} seed {run.seed}" for run in runs) or "none"
