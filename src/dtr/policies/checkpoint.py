"""Official weights <-> ours, strictly: every official key is mapped, declared dead, or an error; every weight of ours is filled once.

A key map is a list of pairs of templates, `{i}` a block index: ("blocks.{i}.attn.qkv.{w}", "dino.stack.blocks.{i}.qkv.{w}").
Official weights come in parts (a VLM, an action head, ...), each a mapping of its own. What wraps every key of a part (DDP's `module.`,
lerobot's `model.`, torch.compile's `_orig_mod.`) is found from the keys and taken off; `prefix` is what export puts on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from torch import Tensor

from dtr.errors import BadCheckpoint
from dtr.policies.base import Policy
from dtr.policies.file import fill

Pairs = tuple[tuple[str, str], ...]
"""(official, ours) templates."""
Parts = Mapping[str, Mapping[str, Tensor]]
Names = Mapping[str, Iterable[str]]
"""The official keys of every part."""
FIELDS = {"i": r"(?P<i>\d+)", "k": r"(?P<k>\d+)", "w": r"(?P<w>weight|bias)"}
WRAPPERS = ("module.", "model.", "_orig_mod.")
"""Distributed training, lerobot's policies and compiled modules put these in front of every key, in any order."""


def renamed(names: Mapping[str, str], official: str = "", ours: str = "") -> Pairs:
    """Pairs of modules with weights and biases: official name -> ours, each behind a prefix that ends in its dot."""
    return tuple((f"{official}{a}.{{w}}", f"{ours}{b}.{{w}}") for a, b in names.items())


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """The regular expression of a template."""
    escaped = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"{(\w)}", lambda m: FIELDS[m.group(1)], escaped))


@dataclass(frozen=True)
class Tied:
    """The official key `also` is a second name of the weight `key`: a file may hold either or both; `written`: exports hold both."""

    also: str
    key: str
    written: bool = False


@dataclass(frozen=True)
class Part:
    """One official file: `pairs` of (official, ours) templates, patterns of `dead` official keys, the `prefix` that export puts on, second
    names that are `tied`, and the `file` that export writes: `.pt` by torch.save, else safetensors."""

    pairs: Pairs
    dead: tuple[str, ...] = ()
    prefix: str = ""
    tied: tuple[Tied, ...] = ()
    file: str = "model.safetensors"

    def ours(self, bare: str) -> str | None:
        """Our name of an official key without its wrapper, None when it has none."""
        return _translate(bare, self.pairs)

    @property
    def second_names(self) -> dict[str, str]:
        """Second name -> the key that `pairs` holds."""
        return {tie.also: tie.key for tie in self.tied}

    def knows(self, bare: str) -> bool:
        """Whether a key without its wrapper is mapped, tied or declared dead."""
        return self.ours(bare) is not None or bare in self.second_names or any(re.fullmatch(d, bare) for d in self.dead)

    def wrapper(self, keys: Iterable[str]) -> str:
        """What stands in front of every one of `keys`: of all that may, that under which most of them are known."""
        keys = list(keys)
        wrappers = dict.fromkeys(["", self.prefix, *("".join(some) for n in (1, 2) for some in permutations(WRAPPERS, n))])
        best, most = "", -1
        for wrapper in wrappers:
            if all(key.startswith(wrapper) for key in keys):
                known = sum(self.knows(key[len(wrapper) :]) for key in keys)
                if known > most:
                    best, most = wrapper, known
                if known == len(keys):
                    break
        return best


@dataclass(frozen=True)
class KeyMap:
    """The parts of one official checkpoint, by name."""

    parts: Mapping[str, Part]

    def names(self, part: str, keys: Iterable[str]) -> dict[str, str | None]:
        """Official key -> our name, None when it is dead or tied to another that is there.

        BadCheckpoint when one is unknown or a name would be filled twice.
        """
        rules, keys = self.parts[part], list(keys)
        wrapper, second = rules.wrapper(keys), rules.second_names
        there = {key[len(wrapper) :] for key in keys}
        found: dict[str, str | None] = {}
        for key in keys:
            bare = key[len(wrapper) :]
            if not rules.knows(bare):
                raise BadCheckpoint(f"{key!r} in {part} is no key of this model: import a checkpoint of the model that was named.")
            main = second.get(bare, bare)
            found[key] = None if main != bare and main in there else rules.ours(main)
        return found

    def official(self, name: str) -> tuple[str, str]:
        """The part and official key of one of our names. BadCheckpoint when there is none."""
        for part, rules in self.parts.items():
            key = _translate(name, tuple((b, a) for a, b in rules.pairs))
            if key is not None:
                return part, rules.prefix + key
        raise BadCheckpoint(f"our weight {name!r} has no official name: export a policy of the class that the key map is for.")

    def aliases(self, part: str, key: str) -> list[str]:
        """Further official keys that export gives the tensor at `key`."""
        rules = self.parts[part]
        return [rules.prefix + tie.also for tie in rules.tied if tie.written and rules.prefix + tie.key == key]


def _translate(key: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for source, target in pairs:
        match = _pattern(source).fullmatch(key)
        if match:
            return target.format(**match.groupdict())
    return None


def translate(key_map: KeyMap, parts: Names) -> dict[str, tuple[str, str]]:
    """Our name -> (part, official key) of every weight in `parts`, none of which is read. BadCheckpoint says which key is unknown or
    fills a weight a second time."""
    found: dict[str, tuple[str, str]] = {}
    for part, keys in parts.items():
        for key, name in key_map.names(part, keys).items():
            if name is None:
                continue
            if name in found:
                raise BadCheckpoint(f"{key!r} in {part} fills {name} a second time: give each weight once.")
            found[name] = part, key
    return found


def check_tied(key_map: KeyMap, parts: Parts) -> None:
    """BadCheckpoint unless official keys that are one tensor are equal where a file holds both."""
    for part, tensors in parts.items():
        wrapper = key_map.parts[part].wrapper(tensors)
        for also, key in ((wrapper + tie.also, wrapper + tie.key) for tie in key_map.parts[part].tied):
            if also in tensors and key in tensors and not tensors[also].equal(tensors[key]):
                raise BadCheckpoint(f"{also} and {key} in {part} are one weight and differ: import an untouched checkpoint.")


def import_weights(policy: Policy, key_map: KeyMap, parts: Parts) -> None:
    """Fill `policy` (a skeleton or a built one) with official weights, cloned.

    Keys that are declared dead are skipped, unless the policy carries them. Weights of blocks that the policy has dropped are an
    error like any other key it has no place for. BadCheckpoint says which key is unknown, missing or of another shape.
    """
    if set(parts) != set(key_map.parts):
        raise BadCheckpoint(f"official weights come in the parts {sorted(key_map.parts)}, got {sorted(parts)}: give all of them.")
    check_tied(key_map, parts)
    found = wanted(policy, translate(key_map, parts))
    fill(policy, {name: parts[part][key].clone() for name, (part, key) in found.items()}, "official weights")


def wanted(policy: Policy, found: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """`found` without what no action depends on and `policy` does not carry: unused weights, and keys and values of a layer that nobody
    reads any more (a dropped checkpoint may have kept them)."""
    place = policy.state_dict().keys()
    return {name: where for name, where in found.items() if name in place or not (name.startswith("unused.") or ".sources." in name)}
