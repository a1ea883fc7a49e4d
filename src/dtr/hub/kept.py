"""Which blocks a checkpoint holds, from its keys: a block is there when one of its weights is.

Somebody else's dropped checkpoint numbers its blocks as in the whole model (0, 2, 4, ...) or anew (0, 1, 2, ...). In the second case the
keys do not tell which blocks they were, and with a read-out at a fixed block it matters; so that `kept` has to be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dtr.dropping.selection import brief
from dtr.errors import BadCheckpoint, unknown
from dtr.policies.base import Policy

Blocks = dict[str, tuple[int, ...]]


def stack_paths(policy: Policy) -> dict[str, str]:
    """Stack name -> where its blocks stand in the names of our weights: `language` -> `language.stack.blocks`."""
    modules = {id(module): name for name, module in policy.named_modules()}
    return {name: f"{modules[id(stack)]}.blocks" for name, stack in policy.stacks().items()}


def blocks_in(names: Iterable[str], policy: Policy) -> Blocks:
    """Stack name -> indices of the blocks that `names` of our weights belong to."""
    names = list(names)
    found = {}
    for stack, path in stack_paths(policy).items():
        pattern = re.compile(re.escape(path) + r"\.(\d+)\..*")
        found[stack] = tuple(sorted({int(match[1]) for name in names if (match := pattern.fullmatch(name))}))
    return found


def settle(found: Blocks, policy: Policy, given: Mapping[str, tuple[int, ...]]) -> Blocks:
    """Original indices of the blocks that are left, from those in the keys and those that the manifest gives.

    BadCheckpoint when the two contradict each other, or when the keys are numbered anew and nothing is given.
    """
    depths = {name: stack.depth for name, stack in policy.stacks().items()}
    for name in given:
        if name not in depths:
            raise unknown("stack", name, depths, "`kept` names it.")
    return {name: _settle(name, blocks, depths[name], given.get(name)) for name, blocks in found.items()}


def _settle(name: str, found: tuple[int, ...], depth: int, given: tuple[int, ...] | None) -> tuple[int, ...]:
    if found and found[-1] >= depth:
        raise BadCheckpoint(
            f"the keys have block {name}.{found[-1]}, the model has {depth}: import it with the configuration it was made for."
        )
    anew = found == tuple(range(len(found)))
    if given is not None and given != found and not (anew and len(given) == len(found) and given[-1] < depth):
        raise BadCheckpoint(f"`kept` says that {name} has blocks {brief(given)}, the keys have {brief(found)}: correct `kept`.")
    if given is None and anew and 0 < len(found) < depth:
        raise BadCheckpoint(
            f"the keys number the {len(found)} of {depth} blocks of {name} from 0 on, so they do not tell which are left: say `kept`."
        )
    return given or found


def renumbered(
    names: Iterable[str], policy: Policy, old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Every name -> the same with the blocks `old` of each stack numbered as in `new`, and with them the layers' keys and values.

    BadCheckpoint when keys and values of a layer have no block whose number they could follow.
    """
    moved = {name: name for name in names}
    for stack, path in stack_paths(policy).items():
        to = dict(zip(old.get(stack, ()), new.get(stack, ()), strict=True))
        sources = f"{path.removesuffix('stack.blocks')}sources"
        pattern = re.compile(rf"({re.escape(path)}|{re.escape(sources)})\.(\d+)\.(.*)")
        for name, match in [(name, match) for name in moved if (match := pattern.fullmatch(name))]:
            number = to.get(int(match[2]))
            if number is not None:
                moved[name] = f"{match[1]}.{number}.{match[3]}"
            elif any(a != b for a, b in to.items()):
                raise BadCheckpoint(
                    f"blocks of {stack} are numbered anew, but layer {match[2]} has keys and values without a block: "
                    "number blocks by their original index."
                )
    return moved
