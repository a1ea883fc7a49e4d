"""Verb `store`: the cached artifacts of this repository, brought and taken by DVC. dvc.yaml says what is cached.

dtr store pull     fetch what is missing or cached anew; what was made here stays as it is
dtr store push     maintainers: write the records, commit to DVC, copy into store/ (--partial: what is here, of a table half made)
dtr store check    is the store whole, and does it fit?
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dtr.errors import BadRecord, MissingAssets
from dtr.provenance import read_json, write_json
from dtr.workflow.adoption import adopt, content, from_cache, records

STORE = Path("store")
LIMIT_MB = 60.0
BESIDE = (".run.json", ".losses.jsonl")
"""What a stage writes beside its output: no rule's output, so Snakemake is not asked for it."""


def cached_scale() -> str:
    """The scale whose artifacts dvc.yaml caches."""
    variables: list[dict[str, Any]] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["vars"]
    return str(variables[0]["scale"])


def locked() -> dict[str, str]:
    """Path -> MD5 of everything that dvc.lock says is cached."""
    lock = Path("dvc.lock")
    if not lock.exists():
        return {}
    stages: Mapping[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}


def run_tool(*command: str) -> str:
    """Run DVC or Snakemake without questions, statistics or network; its output. Raises MissingAssets with its last line."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "1"}
    argv = [sys.executable, "-m", *command]
    result = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if result.returncode:
        last = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise MissingAssets(
            f"`{' '.join(command[:2])}` failed ({last}): check that store/ is checked out whole, or compute with `snakemake`."
        )
    return result.stdout + result.stderr


def pull() -> None:
    """Fetch cached artifacts that are missing, or that an earlier pull brought; leave what was made here as it is."""
    wanted = [path for path in locked() if not Path(path).exists() or from_cache(Path(path))]
    if wanted:
        missing = sum(not Path(path).exists() for path in wanted)
        say = f"fetching {missing} of {len(locked())} cached artifacts" if missing else f"all {len(locked())} cached artifacts are here"
        print(f"store: {say}", file=sys.stderr)
        run_tool("dvc", "pull", "--quiet", "--force", *wanted)
    adopt(cached_scale())


def push(partial: bool = False) -> None:
    """Put everything that dvc.yaml names into the store; with `partial` only the stages whose files are all here.

    Raises MissingAssets or BadRecord when it is not all there and up to date.
    """
    stages = stage_outputs()
    here = {name: outs for name, outs in stages.items() if all(out.exists() for out in outs)} if partial else dict(stages)
    here.pop("records", None)
    outs = [out for name in here for out in here[name]]
    scale = cached_scale()
    made = [str(out) for out in outs if out.name != "table1" and not out.name.endswith(BESIDE)]
    if not made:
        raise MissingAssets("nothing that dvc.yaml names is here: run `snakemake -- results/table1.csv` first.")
    if "Nothing to be done" not in run_tool("snakemake", "--configfile", f"config/{scale}.yaml", "--dry-run", "--", *made):
        raise BadRecord(
            "not everything that dvc.yaml names is up to date: run `snakemake -- results/table1.csv` and look at `snakemake -n`."
        )
    index = Path(f"artifacts/{scale}/records.json")
    entries = cached_elsewhere(index, outs) | {
        artifact: {"content": content(Path(artifact)), "record": record}
        for artifact, record in records()
        if Path(artifact).exists() and lies_in(outs, artifact)
    }
    write_json(index, entries)
    run_tool("dvc", "commit", "--force", "--quiet", *here, "records")
    run_tool("dvc", "push", "--quiet", *here, "records")
    run_tool("dvc", "gc", "--workspace", "--cloud", "--force", "--quiet")
    absent = f"; {len(stages) - len(here) - 1} stages are not there" if partial else ""
    print(f"store: {len(entries)} artifacts, {check():.1f} MB{absent}; commit store/ and dvc.lock")


def cached_elsewhere(index: Path, outs: Collection[Path]) -> dict[str, Any]:
    """The cached entries of what dvc.lock lists beside `outs`: stages that stay in the cache need not be on this disk."""
    others = [Path(path) for path in locked() if Path(path) != index and Path(path) not in outs]
    if not others or str(index) not in locked():
        return {}
    run_tool("dvc", "pull", "--quiet", "--force", str(index))
    return {artifact: entry for artifact, entry in read_json(index).items() if lies_in(others, artifact)}


def lies_in(outs: Iterable[Path], artifact: str) -> bool:
    """Whether an artifact is one of `outs`, or in a folder that is."""
    return any(Path(artifact).is_relative_to(out) for out in outs)


def stage_outputs() -> dict[str, list[Path]]:
    """The stages of dvc.yaml, each with the files and folders that it caches."""
    from dvc.repo import Repo  # type: ignore[import-not-found, unused-ignore]

    found: dict[str, list[Path]] = {}
    for out in Repo().index.outs:
        found.setdefault(str(out.stage.addressing), []).append(Path(str(out.fs_path)).relative_to(Path.cwd()))
    return found


def check() -> float:
    """Megabytes in the store. Raises BadRecord when it is too large, MissingAssets when it lacks something."""
    if not STORE.is_dir():
        raise MissingAssets(f"{STORE}/ is not here, so it lacks every cached artifact: bring it back with `git checkout -- {STORE}`.")
    size_mb = sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file()) / 1e6
    if size_mb > LIMIT_MB:
        raise BadRecord(f"{STORE}/ holds {size_mb:.1f} MB, more than the {LIMIT_MB:.0f} that a clone should carry: cache less in dvc.yaml.")
    for path, md5 in locked().items():
        if not (STORE / "files/md5" / md5[:2] / md5[2:]).exists():
            raise MissingAssets(f"{STORE}/ lacks {path}: run `dtr store push` where it is.")
    return size_mb


def add_parser(verbs: Any) -> None:
    """Declare `dtr store`."""
    p = verbs.add_parser("store", help="cached artifacts: pull what is missing; maintainers: push, check")
    p.add_argument(
        "action",
        choices=["pull", "push", "check"],
        help="pull: bring what is cached and not here; maintainers: push what is here, check the store",
    )
    p.add_argument("--partial", action="store_true", help="maintainers, with push: only the stages of dvc.yaml whose files are all here")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    if not Path("dvc.yaml").exists():
        raise MissingAssets(f"there is no dvc.yaml in {Path.cwd()}, so nothing says what is cached: change to the repository's own folder.")
    if args.action == "check":
        print(f"store: {check():.1f} MB")
    elif args.action == "push":
        push(args.partial)
    else:
        pull()
