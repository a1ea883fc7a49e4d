"""Official weights <-> ours, strictly: every official key is mapped, declared dead, or an error; every weight of ours is filled once.

A key map is a list of pairs of templates, `{i}` a block index: ("blocks.{i}.attn.qkv.{w}", "dino.stack.blocks.{i}.qkv.{w}").
Official weights come in parts (a VLM, an action head, ...), each a mapping of its own; `prefix` is what wraps every key of a part
(DDP's `module.`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from dtr.errors import BadCheckpoint
from dtr.policies.base import Policy
from dtr.policies.file import fill

Parts = Mapping[str, Mapping[str, Tensor]]
FIELDS = {"i": r"(?P<i>\d+)", "k": r"(?P<k>\d+)", "w": r"(?P<w>weight|bias)"}


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
    """One official file: `pairs` of (official, ours) templates, patterns of `dead` official keys, the `prefix` of every key, and keys
    that are `tied`."""

    pairs: tuple[tuple[str, str], ...]
    dead: tuple[str, ...] = ()
    prefix: str = ""
    tied: tuple[Tied, ...] = ()

    def single(self, part: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights without second names. BadCheckpoint when a weight differs under its two names."""
        left = dict(weights)
        for tie in self.tied:
            for prefix in {self.prefix, ""}:
                tensor = left.pop(prefix + tie.also, None)
                if tensor is not None and not tensor.equal(left.setdefault(prefix + tie.key, tensor)):
                    raise BadCheckpoint(f"{tie.also} and {tie.key} in {part} are one weight and differ: import an untouched checkpoint.")
        return left

    def double(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights with the second names that are written."""
        both = {tie.also: tie.key for tie in self.tied if tie.written}
        return dict(weights) | {self.prefix + a: weights[self.prefix + k].clone() for a, k in both.items() if self.prefix + k in weights}


@dataclass(frozen=True)
class KeyMap:
    """The parts of one official checkpoint, by name."""

    parts: Mapping[str, Part]

    def ours(self, part: str, key: str) -> str | None:
        """Our name of an official key, None when it is declared dead. BadCheckpoint when it is unknown."""
        rules = self.parts[part]
        bare = key.removeprefix(rules.prefix)
        name = _translate(bare, rules.pairs)
        if name is None and not any(re.fullmatch(dead, bare) for dead in rules.dead):
            raise BadCheckpoint(f"{key!r} in {part} is no key of this model: import a checkpoint of the model that was named.")
        return name

    def official(self, name: str) -> tuple[str, str]:
        """The part and official key of one of our names. BadCheckpoint when there is none."""
        for part, rules in self.parts.items():
            key = _translate(name, tuple((b, a) for a, b in rules.pairs))
            if key is not None:
                return part, rules.prefix + key
        raise BadCheckpoint(f"our weight {name!r} has no official name: export a policy of the class that the key map is for.")


def _translate(key: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for source, target in pairs:
        match = _pattern(source).fullmatch(key)
        if match:
            return target.format(**match.groupdict())
    return None


def import_weights(policy: Policy, key_map: KeyMap, parts: Parts) -> None:
    """Fill `policy` (a skeleton or a built one) with official weights, cloned.

    Keys that are declared dead are skipped, unless the policy carries them. Weights of blocks that the policy has dropped are an
    error like any other key it has no place for. BadCheckpoint says which key is unknown, missing or of another shape.
    """
    if set(parts) != set(key_map.parts):
        raise BadCheckpoint(f"official weights come in the parts {sorted(key_map.parts)}, got {sorted(parts)}: give all of them.")
    place = policy.state_dict().keys()
    tensors: dict[str, Tensor] = {}
    for part, weights in parts.items():
        for key, tensor in key_map.parts[part].single(part, weights).items():
            name = key_map.ours(part, key)
            if name is None or (name.startswith("unused.") and name not in place):
                continue
            if name in tensors:
                raise BadCheckpoint(f"{key!r} in {part} fills {name} a second time: give each weight once.")
            tensors[name] = tensor.clone()
    fill(policy, tensors, "official weights")


def export_weights(policy: Policy, key_map: KeyMap) -> dict[str, dict[str, Tensor]]:
    """The policy's weights under their official names, by part: what `import_weights` took, less dead keys it did not carry."""
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in key_map.parts}
    for name, tensor in policy.state_dict().items():
        part, key = key_map.official(name)
        parts[part][key] = tensor.detach().clone()
    return {part: key_map.parts[part].double(weights) for part, weights in parts.items()}
