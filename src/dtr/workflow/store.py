"""Verb `store`: the cached artifacts of this repository, brought and taken by DVC (docs/cache.md). dvc.yaml says what is cached.

dtr store pull [table ...]    fetch what is missing or cached anew, of some tables or all; what was made here stays as it is
dtr store write               maintainers: write dvc.yaml from the configuration and its sheets
dtr store push                maintainers: the same, then records, commit to DVC, into store/ (--partial: what is here and up to date)
dtr store check               is the store whole, undamaged, and is no table too large?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, BadRecord, MissingAssets
from dtr.provenance import canonical_json, read_json, write_json
from dtr.workflow import cached, coverage, dvcfile, intact
from dtr.workflow.adoption import adopt, content, files_of, from_cache, records
from dtr.workflow.dvcfile import RECORDS, Stage
from dtr.workflow.planned import late_files, read_targets, run_tool

STORE = Path("store")
NAMELESS = "what all tables start from"
RACES = 3
"""How often a pull is tried again when another user of the same cache was in the way."""
LIMIT_MB = 60.0
"""Of the arms and numbers of one table, and of all that tables start from. A clone carries the store."""


def pull(tables: Collection[str] = (), remote: str = "") -> None:
    """Fetch cached artifacts, of `tables` or all: what is missing, or came by an earlier pull. What was made here is left as it is.

    Raises UnknownName for a table that is not cached, BadRecord for bytes that are not those of dvc.lock.
    """
    locked = dvcfile.read_lock()
    if tables:
        of_tables = {out for stage in dvcfile.made_of(tables).values() for out in stage.outs}
        locked = {path: entry for path, entry in locked.items() if path in of_tables}
    wanted = [path for path in locked if not Path(path).exists() or from_cache(Path(path))]
    if wanted:
        missing = sum(not Path(path).exists() for path in wanted)
        say = f"fetching {missing} of {len(locked)} cached artifacts" if missing else f"all {len(locked)} cached artifacts are here"
        print(f"store: {say}", file=sys.stderr)
        # DVC takes half a second for every name, and three for everything.
        whole = ["--with-deps", *tables, RECORDS] if tables else []
        fetch(wanted, whole if len(wanted) == len(locked) else wanted, remote)
        intact.check_pulled(cache_folder(), {path: locked[path] for path in wanted})
        print(
            f"store: {len(wanted)} artifacts, {sum(locked[path]['size'] for path in wanted) / 1e6:.0f} MB, are those of dvc.lock",
            file=sys.stderr,
        )
    adopt(dvcfile.scale())


def fetch(wanted: Collection[str], names: Sequence[str], remote: str) -> None:
    """Let DVC fetch `wanted`, asking it for `names`. Raises MissingAssets, naming the first artifact that did not come.

    DVC fails when another user puts the same object into a shared cache at the same moment; a moment later it finds it there.
    """
    try:
        for again in range(RACES, -1, -1):
            try:
                run_tool("dvc", "pull", "--force", *(["--remote", remote] if remote else []), *names)
                break
            except MissingAssets as error:
                if not again or "Permission denied" not in str(error):
                    raise
    except MissingAssets as error:
        absent = [path for path in wanted if not Path(path).exists()]
        if not absent:
            raise
        raise MissingAssets(
            f"{absent[0]} ({len(absent)} of {len(wanted)} artifacts) is not in the cache or cannot be fetched: {error} "
            f"`snakemake -- {absent[0]}` makes it."
        ) from error


def cache_folder() -> Path:
    """DVC's cache: in this checkout, or one that several users share."""
    return Path(run_tool("dvc", "cache", "dir").strip())


def write(config: str = "") -> None:
    """Bring dvc.yaml up to the configuration and its sheets, as far as dvc.lock has the hashes; those follow their paths."""
    targets = read_targets(config or f"config/{dvcfile.scale()}.yaml")
    changed = dvcfile.write(targets.scale, cached.stages(targets), dvcfile.locked_paths())
    print(f"store: dvc.yaml {'is new' if changed else 'was up to date'}: {len(dvcfile.read_stages())} stages", file=sys.stderr)


def push(partial: bool = False, config: str = "", remote: str = STORE.name) -> None:
    """Put all that the sheets name into the store; with `partial` only what is here and up to date, beside what is cached already.

    Raises MissingAssets or BadRecord when it is not all there and up to date, and BadRecord, before anything is touched, when a table is
    too large.
    """
    config = config or f"config/{dvcfile.scale()}.yaml"
    targets = read_targets(config)
    named = cached.stages(targets)
    stages = dvcfile.parse({"vars": [{"scale": targets.scale}], "stages": named})
    index = Path(stages.pop(RECORDS).outs[0])
    here = {name: stage for name, stage in stages.items() if all(Path(path).exists() for path in (*stage.outs, *stage.deps))}
    missing, late = [name for name in stages if name not in here], pending(here, config)
    if not partial and (missing or late):
        raise BadRecord(
            f"not everything that the sheets name is here and up to date (first {(missing + late)[0]}): look at `snakemake -n`, run it, or "
            "cache what is finished with `dtr store push --partial`."
        )
    here = {name: stage for name, stage in here.items() if name not in late}
    if not here:
        raise MissingAssets("nothing that the sheets name is here and up to date: run `snakemake -- results/table1.csv` first.")
    outs = [Path(out) for stage in here.values() for out in stage.outs]
    entries = cached_elsewhere(index, outs, remote) | {
        artifact: {"content": content(Path(artifact)), "record": record}
        for artifact, record in records()
        if Path(artifact).exists() and lies_in(outs, artifact)
    }
    if remote == STORE.name:  # before anything is written
        told = {str(index): {"md5": RECORDS, "size": len(canonical_json(entries).encode())}}
        locked = dvcfile.locked() | measured(outs) | told
        stages[RECORDS] = Stage("", (str(index),))
        refuse_large(sizes_mb(locked, {name: stage for name, stage in stages.items() if locked.keys() >= {*stage.outs}}))
    dvcfile.write(targets.scale, named, {*dvcfile.locked_paths(), *map(str, outs), str(index)})
    write_json(index, entries)
    names = [] if set(dvcfile.read_stages()) == {*here, RECORDS} else [*here, RECORDS]
    run_tool("dvc", "commit", "--force", "--quiet", *names)
    run_tool("dvc", "push", "--quiet", "--remote", remote, *names)
    absent = f"; {len(missing)} stages are not here, {len(late)} not up to date" if partial else ""
    said = f"store: {len(entries)} artifacts{absent}"
    if remote == STORE.name:
        intact.prune(STORE, dvcfile.read_lock())
        if coverage.PAGE.exists():
            coverage.write()
        said += f", {check():.1f} MB; commit store/, dvc.yaml, dvc.lock and {coverage.PAGE}"
    print(said)


def pending(here: Mapping[str, Stage], config: str) -> list[str]:
    """The stages of which Snakemake would make something again. Raises MissingAssets when it cannot plan."""
    targets = [target for stage in here.values() for target in stage.targets]
    late = set(late_files(config, targets)) if targets else set()
    return [name for name, stage in here.items() if late & {*stage.targets, *stage.outs}]


def cached_elsewhere(index: Path, outs: Collection[Path], remote: str) -> dict[str, Any]:
    """The cached entries of what dvc.lock lists beside `outs`: stages that stay in the cache need not be on this disk."""
    locked = dvcfile.read_lock()
    others = [Path(path) for path in locked if Path(path) != index and Path(path) not in outs]
    if not others or str(index) not in locked:
        return {}
    run_tool("dvc", "pull", "--quiet", "--force", "--remote", remote, str(index))
    return {artifact: entry for artifact, entry in read_json(index).items() if lies_in(others, artifact)}


def lies_in(outs: Iterable[Path], artifact: str) -> bool:
    """Whether an artifact is one of `outs`, or in a folder that is."""
    return any(Path(artifact).is_relative_to(out) for out in outs)


def measured(outs: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """What dvc.lock would say of files and folders."""
    found = {}
    for out in outs:
        files = files_of(out)
        name = content(out) if out.is_dir() else intact.md5_file(out)
        found[str(out)] = {"md5": name, "size": sum(path.stat().st_size for path in files)}
    return found


def sizes_mb(locked: Mapping[str, Mapping[str, Any]], stages: Mapping[str, Stage]) -> dict[str, float]:
    """Table -> megabytes of its own arms and numbers; what several tables share counts in each, what all start from under no name."""
    rest, found = dict(stages), {}
    arms = {name: stage for name, stage in stages.items() if not stage.deps and name.split("@")[0] not in cached.STARTS}
    for table in [name for name, stage in stages.items() if stage.deps]:
        parts = {name for name, stage in arms.items() if {*stage.outs} & {*stages[table].deps}}
        own = {name: stages[name] for name in (table, *parts)}
        rest = {name: stage for name, stage in rest.items() if name not in own}
        found[table] = size_mb(locked, own.values())
    return found | {"": size_mb(locked, rest.values())}


def size_mb(locked: Mapping[str, Mapping[str, Any]], stages: Iterable[Stage]) -> float:
    """Megabytes of the outputs of stages; equal files once."""
    cached = {locked[out]["md5"]: locked[out]["size"] for stage in stages for out in stage.outs if out in locked}
    return sum(cached.values()) / 1e6


def check() -> float:
    """Megabytes in the store. Raises BadRecord when a table is too large or bytes are others', MissingAssets when something lacks."""
    if not STORE.is_dir():
        raise MissingAssets(f"{STORE}/ is not here, so it lacks every cached artifact: bring it back with `git checkout -- {STORE}`.")
    refuse_large(cached_mb())
    intact.check_store(STORE, dvcfile.read_lock())
    return sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file()) / 1e6


def cached_mb() -> dict[str, float]:
    """`sizes_mb` of what is cached."""
    return sizes_mb(dvcfile.read_lock(), dvcfile.read_stages())


def refuse_large(sizes: Mapping[str, float]) -> None:
    """Raise BadRecord when a table has more than a clone should carry."""
    for table, size in sizes.items():
        if size > LIMIT_MB:
            raise BadRecord(
                f"{table or NAMELESS} has {size:.1f} MB in {STORE}/, more than the {LIMIT_MB:.0f} that a clone should "
                "carry of one table: let fewer of its arms run at this scale (column `scales` of its sheet)."
            )


def add_parser(verbs: Any) -> None:
    """Declare `dtr store`."""
    p = verbs.add_parser("store", help="cached artifacts: pull what is missing; maintainers: write dvc.yaml, push, check")
    p.add_argument(
        "action",
        choices=["pull", "write", "push", "check"],
        help="pull: bring what is cached and not here; maintainers: write dvc.yaml, push what is here, check the store (docs/cache.md)",
    )
    p.add_argument("tables", nargs="*", help="pull: these tables alone (`report`: figures, verdicts and page), with all they are made of")
    p.add_argument(
        "--partial", action="store_true", help="maintainers, push: only the stages of dvc.yaml whose files are all here and up to date"
    )
    p.add_argument(
        "--config", default="", help="write, push: the configuration whose tables are cached (default: that of dvc.yaml's scale)"
    )
    p.add_argument("--remote", default="", help="a DVC remote (pull: its default one; push: the repository's own store/)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    if not dvcfile.DVC.exists():
        raise MissingAssets(f"there is no dvc.yaml in {Path.cwd()}, so nothing says what is cached: change to the repository's own folder.")
    if args.tables and args.action != "pull":
        raise BadConfig(f"`dtr store {args.action}` takes no tables, got {' '.join(args.tables)}: leave them out.")
    if args.action == "check":
        print(f"store: {check():.1f} MB" + "".join(f", {table or NAMELESS} {size:.1f} MB" for table, size in cached_mb().items()))
    elif args.action == "push":
        push(args.partial, args.config, args.remote or STORE.name)
    elif args.action == "write":
        write(args.config)
    else:
        pull(args.tables, args.remote)
