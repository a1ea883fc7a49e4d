"""dvc.yaml and dvc.lock as this repository writes them: read, expanded, rendered. DVC itself takes seconds to import; nothing here does.

A stage: what makes it (`cmd`, Snakemake with some targets), what is cached of it (`outs`), what it is made of (`deps`: others' files).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dtr.errors import BadConfig, unknown
from dtr.provenance import write_text

DVC, LOCK = Path("dvc.yaml"), Path("dvc.lock")
HEADER = """\
# What is cached at this scale, of all that takes long to make. Written by `dtr store push` from the configuration and its sheets:
# src/dtr/workflow/cached.py says what, docs/cache.md how to use it. `dtr store pull` (or `make table1`) brings it, `dtr store pull table1`
# that table alone. A stage here only names files: Snakemake makes them.
"""
RECORDS = "records"


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml."""

    cmd: str
    outs: tuple[str, ...]
    deps: tuple[str, ...] = ()

    @property
    def targets(self) -> list[str]:
        """What has to be up to date before the outputs may be cached."""
        return self.cmd.partition(" -- ")[2].split()


def scale() -> str:
    """The scale whose artifacts dvc.yaml caches."""
    return str(yaml.safe_load(DVC.read_text(encoding="utf-8"))["vars"][0]["scale"])


def read_stages() -> dict[str, Stage]:
    """Name -> stage of dvc.yaml. Raises BadConfig when `dtr store write` did not write it."""
    try:
        return parse(yaml.safe_load(DVC.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError) as error:
        raise BadConfig(f"{DVC} is not as `dtr store write` writes it ({error!r}): write it again.") from error


def parse(text: Mapping[str, Any]) -> dict[str, Stage]:
    """Name -> stage of what dvc.yaml says, templates expanded."""
    variables = {f"${{{key}}}": str(value) for entry in text["vars"] for key, value in entry.items()}
    found: dict[str, Stage] = {}
    for name, entry in text["stages"].items():
        if "foreach" not in entry:
            found[name] = expand(entry, variables)
            continue
        for key, item in items_of(entry).items():
            filled = {"${item}": key} | {f"${{item.{k}}}": value for k, value in item.items()}
            found[f"{name}@{key}"] = expand(entry["do"], variables | filled)
    return found


def items_of(entry: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Key -> fields of the stages of one template."""
    items = entry["foreach"]
    return dict(items) if isinstance(items, Mapping) else {key: {} for key in items}


def expand(entry: Mapping[str, Any], filled: Mapping[str, str]) -> Stage:
    """A template with its variables in place."""

    def fill(text: str) -> str:
        return re.sub(r"\$\{[^}]+\}", lambda match: filled[match.group()], text)

    outs = tuple(fill(name) for out in entry["outs"] for name in out)
    return Stage(fill(entry["cmd"]), outs, tuple(map(fill, entry.get("deps", ()))))


def read_lock() -> dict[str, dict[str, Any]]:
    """Path -> its entry (`md5`, `size`) in dvc.lock, of the stages that dvc.yaml has."""
    if not LOCK.exists():
        return {}
    declared = read_stages()
    stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out for name, stage in stages.items() if name in declared for out in stage.get("outs", ())}


def made_of(tables: Iterable[str]) -> dict[str, Stage]:
    """The stages behind tables (or any stages), themselves first, and Snakemake's records. Raises UnknownName."""
    stages = read_stages()
    owner = {out: name for name, stage in stages.items() for out in stage.outs}
    wanted = list(tables)
    for name in wanted:
        if name not in stages:
            raise unknown(
                "cached table", name, [name for name, stage in stages.items() if stage.deps], "dvc.yaml lists everything that is cached."
            )
    for name in wanted:  # grows while it is read
        wanted += [owner[dep] for dep in stages[name].deps if dep in owner and owner[dep] not in wanted]
    return {name: stages[name] for name in [*wanted, RECORDS]}


def write(scale: str, stages: Mapping[str, Any], have: Collection[str]) -> bool:
    """Write those of `stages` to dvc.yaml whose outputs are all among `have` (`dvc pull` fails for a stage without a hash).

    The hashes of dvc.lock follow their paths to what the stages are called now. Returns whether anything changed.
    """
    named = {"vars": [{"scale": scale}], "stages": dict(stages)}
    whole = {name for name, stage in parse(named).items() if set(stage.outs) <= set(have)}
    kept: dict[str, Any] = {}
    for name, entry in stages.items():
        if "foreach" in entry:
            items = {key: item for key, item in items_of(entry).items() if f"{name}@{key}" in whole}
            if items:
                kept[name] = entry | {"foreach": items if any(items.values()) else list(items)}
        elif name in whole:
            kept[name] = entry | ({"deps": [dep for dep in entry["deps"] if dep in have]} if "deps" in entry else {})
    text = HEADER + dump(named | {"stages": kept})
    changed = not DVC.exists() or DVC.read_text(encoding="utf-8") != text
    if changed:
        write_text(DVC, text)
    return carry() or changed


def locked() -> dict[str, dict[str, Any]]:
    """Path -> its entry in dvc.lock, whatever its stage is called."""
    lock = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"] if LOCK.exists() else {}
    return {out["path"]: out for stage in lock.values() for out in stage.get("outs", ())}


def locked_paths() -> set[str]:
    """Every path that dvc.lock has a hash of."""
    return set(locked())


def carry() -> bool:
    """Rewrite dvc.lock if a stage in it is no more, or another stage caches its files now. No hash of a cached path is lost."""
    if not LOCK.exists():
        return False
    lock = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
    old, declared = lock["stages"], read_stages()
    known = {out["path"]: out for stage in old.values() for out in stage.get("outs", ())}
    new = {}
    for name, stage in sorted(declared.items(), key=lambda item: list(old).index(item[0]) if item[0] in old else len(old)):
        outs = [known[out] for out in sorted(stage.outs) if out in known]
        if name in old and {out["path"] for out in old[name].get("outs", ())} == set(stage.outs):
            new[name] = old[name]
        elif outs:
            new[name] = {"cmd": stage.cmd, "outs": outs}
    if new == old:
        return False
    write_text(LOCK, yaml.safe_dump(lock | {"stages": new}, sort_keys=False))
    return True


class Plain(yaml.SafeDumper):
    """YAML without anchors: equal values are written out each time."""

    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is an alias."""
        return True


def dump(value: Mapping[str, Any]) -> str:
    """YAML in the order of `value`, its innermost lists and mappings on one line."""
    return yaml.dump(value, Dumper=Plain, sort_keys=False, default_flow_style=None, width=140)
