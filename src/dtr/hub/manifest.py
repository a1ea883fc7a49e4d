"""What a published checkpoint or data set is, as data: `hub` in a policy's or a data set's entry of config/*.yaml.

    id @ revision      one commit of a repository; its files are named by patterns, part by part of the model's key map
    role               base: whole, recovery starts here      finetuned: whole, acts as it is
                       authors_recovered: dropped and recovered by somebody else, blocks are missing
    conventions        prompt, normalisation, horizon: three things that no weight tells and that silently cost all success

No torch here: the Snakefile reads manifests. A revision that nobody has looked up is null and is never guessed; fetching refuses it.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, unknown
from dtr.policies.tokenizer import FETCHED
from dtr.records import check_given, read_given

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "config.json")


@dataclass(frozen=True)
class Conventions:
    """What a policy class can be told of a checkpoint: prompts and kinds of normalisation that its processor and training know."""

    prompts: tuple[str, ...]
    normalisations: tuple[str, ...]


CLASSES = {
    "openvla_oft": Conventions(("question",), ("q99",)),
    "pi05": Conventions(("text", "text_state", "text_padded_state"), ("q99", "meanstd")),
    "gigabrain0": Conventions(("text_state",), ("q99",)),
    "lingbot_vla": Conventions(("text",), ("q99", "meanstd")),
}
"""`question`: "In: What action should the robot take to ...?"; `text_state`: the task and the binned state as words; `text_padded_state`:
with zeros behind the state, as lerobot writes it; `text`: the task. `dtr.hub.processing` says what each class makes of them."""


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a pattern means; * does not reach into a folder."""
    return [name for name in fnmatch.filter(names, pattern) if name.count("/") == pattern.count("/")]


@dataclass(frozen=True)
class Source:
    """Files of one repository: `patterns` of their names, of which each must match; `sha256` of those that are known."""

    id: str
    kind: str
    revision: str | None
    patterns: tuple[str, ...]
    sha256: Mapping[str, str]

    def pinned(self) -> str:
        """The revision. BadConfig when nobody has pinned one."""
        if self.revision is None:
            raise BadConfig(
                f"{self.id} has no revision: look at the one that `dtr fetch --resolve` prints and write its 40 digits into `revision`."
            )
        return self.revision

    def folder(self, store: Path = FETCHED) -> Path:
        """Where its files lie once they are fetched."""
        return store / f"{self.id}@{self.pinned()}"


@dataclass(frozen=True)
class Manifest:
    """A published checkpoint; schemas/config.schema.json describes every field."""

    source: Source
    role: str
    parts: Mapping[str, tuple[str, ...]]
    prompt: str
    normalisation: str
    horizon: int
    statistics: Mapping[str, Any]
    fresh: Mapping[str, Any]
    kept: Mapping[str, tuple[int, ...]]
    tokenizer: Mapping[str, Any]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every repository that is needed: the checkpoint's, and the tokenizer's where it is another."""
        words = self.tokenizer
        if "id" not in words:
            return (self.source,)
        return (
            self.source,
            Source(words["id"], "model", words["revision"], tuple(words.get("files", TOKENIZER[:1])), words.get("sha256", {})),
        )


def read_manifest(kind: str, hub: Mapping[str, Any]) -> Manifest:
    """The manifest of a policy class `kind`. BadConfig or UnknownName when a convention is not one of the class, or fields contradict."""
    check_given(hub, "config", "hub", "checkpoint")
    known = CLASSES.get(kind)
    if known is None:
        raise unknown("policy class with published checkpoints", kind, CLASSES)
    for what, choices in (("prompt", known.prompts), ("normalisation", known.normalisations)):
        if hub[what] not in choices:
            raise BadConfig(
                f"{hub['id']}: {kind} knows the {what} {' or '.join(choices)}, got {hub[what]!r}: look at the checkpoint's card."
            )
    role, fresh, kept = hub["role"], hub.get("fresh", {}), hub.get("kept", {})
    if role != "base" and fresh:
        raise BadConfig(
            f"{hub['id']}: a checkpoint of role {role} acts as it is, so nothing of it can be fresh: drop `fresh`, or say base."
        )
    if role != "authors_recovered" and kept:
        raise BadConfig(f"{hub['id']}: a checkpoint of role {role} is whole: drop `kept`, or say authors_recovered.")
    if role != "base" and "data" in hub["statistics"]:
        raise BadConfig(
            f"{hub['id']}: a checkpoint of role {role} acts as it is, in numbers that it learnt: name its own `statistics`, or say base."
        )
    twice = set(fresh.get("parts", ())) & set(hub["parts"])
    if twice:
        raise BadConfig(f"{hub['id']}: {', '.join(sorted(twice))} cannot be both a part of the checkpoint and fresh: name it once.")
    parts = {name: tuple(patterns) for name, patterns in hub["parts"].items()}
    patterns = (*(p for some in parts.values() for p in some), *hub.get("files", ()))
    return Manifest(
        Source(hub["id"], "model", hub["revision"], tuple(dict.fromkeys(patterns)), hub.get("sha256", {})),
        role,
        parts,
        hub["prompt"],
        hub["normalisation"],
        hub["horizon"],
        hub["statistics"],
        fresh,
        {name: tuple(blocks) for name, blocks in kept.items()},
        hub.get("tokenizer", {}),
    )


def read_data_source(hub: Mapping[str, Any]) -> Source:
    """The data set of a `demos` entry."""
    check_given(hub, "config", "hub", "dataset")
    return Source(hub["id"], "dataset", hub["revision"], tuple(hub["files"]), hub.get("sha256", {}))


def sources_of(entry: Mapping[str, Any]) -> tuple[Source, ...]:
    """What an entry of `policies` or `demos` fetches. BadConfig when it fetches nothing."""
    if "hub" not in entry:
        raise BadConfig("this entry has no `hub`: it is made here, and there is nothing to fetch; name one that is published.")
    return read_manifest(entry["class"], entry["hub"]).sources if "class" in entry else (read_data_source(entry["hub"]),)


def read_entry(text: str, name: str | None) -> dict[str, Any]:
    """An entry of `policies` or `demos`: JSON, the path of a file that holds one, or of a configuration and then the entry's `name`."""
    value: dict[str, Any] = read_given(text, "--config", yaml=True)
    entries: dict[str, Any] = {**value.get("policies", {}), **value.get("demos", {})}
    if not entries:
        return value
    if name not in entries:
        raise unknown("policy or data set", str(name), entries, f"--name says which entry of {text} is meant.")
    return dict(entries[name])


def add_entry_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of `dtr fetch` and `dtr import` that say what is meant and where its files lie."""
    p.add_argument("--config", required=True, help="a configuration file, or JSON of one entry of its `policies` or `demos`")
    p.add_argument("--name", help="which entry of the configuration")
    p.add_argument("--store", type=Path, default=FETCHED, help=f"where fetched files are kept (default {FETCHED})")
