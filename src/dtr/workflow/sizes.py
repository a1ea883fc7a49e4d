"""How large a policy is before it is built: P parameters, F operations of one forward, whole and after a cut. Arithmetic, without torch.

    P_left = P - sum of p over the parts of blocks that go,    F_left = F - sum of f over those of them that are not dead

The blocks of a stack are equal, so a cut by a metric needs no scores here: it costs what any cut of as many blocks does, the dead ones
first. What is left out makes it an upper bound by a few percent: a narrower action head; with blocks of an expert, the language block that
dies with its last one, and the keys that nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtr.dropping.cut import METRICS, SUBLAYERS, Part, parse_cut
from dtr.dropping.scores import BlockScore
from dtr.dropping.selection import Depth, dropped_blocks, least, targeted

CAMERAS = 2
TOWERS = {"dino": "vision.dino", "siglip": "vision.siglip"}
"""Key of a configuration -> its stack, where the stack has another name."""


@dataclass(frozen=True)
class Size:
    """P parameters stored, F operations of one forward of one sample."""

    parameters: float
    flops: float


@dataclass(frozen=True)
class Blocks:
    """The equal blocks of a stack: how many, what the attention and what the MLP of one has, and which of them are dead."""

    depth: int
    attention: Size
    mlp: Size
    dead: tuple[int, ...] = ()


LARGEST = Size(7.8e9, 9e12)
"""OpenVLA-OFT: 7.7e9 and 8.8e12."""
FULL_SIZE = {
    "openvla_oft": Size(7.71e9, 8.80e12),
    "pi05": Size(3.62e9, 4.50e12),
    "gigabrain0": Size(3.53e9, 5.07e12),
    "lingbot_vla": Size(4.20e9, 2.72e12),
}
"""Class -> what `dtr cost` counts of it at its published size (tests/workflow/test_sizes.py)."""
STACKS = {
    "openvla_oft": {
        "vision.dino": Blocks(24, Size(4201472, 4936900608), Size(8396800, 8757706752), dead=(23,)),
        "vision.siglip": Blocks(27, Size(5315328, 6039797760), Size(9924176, 10154409984), dead=(26,)),
        "language": Blocks(32, Size(67112960, 86736699392), Size(135270400, 162860630016)),
        "action": Blocks(2, Size(0, 0), Size(0, 0)),
    },
    "pi05": {
        "vision": Blocks(27, Size(5315328, 9059696640), Size(9924176, 15231614976)),
        "language": Blocks(18, Size(8388608, 23916445696), Size(100665344, 194884141056), dead=(17,)),
        "action": Blocks(18, Size(7867392, 1807810560), Size(15731712, 2579496960)),
    },
    "gigabrain0": {
        "vision": Blocks(27, Size(5315328, 9059696640), Size(9924176, 15231614976)),
        "language": Blocks(26, Size(9439488, 25946488832), Size(63705600, 123325120512), dead=(25,)),
        "action": Blocks(26, Size(9441280, 10524098560), Size(9441280, 6354370560)),
    },
    "lingbot_vla": {
        "vision": Blocks(32, Size(6560000, 10506731520), Size(13142200, 20171980800)),
        "language": Blocks(36, Size(8390656, 4498391040), Size(67635200, 32463912960), dead=(35,)),
        "action": Blocks(36, Size(4723456, 4849090560), Size(7522560, 6491013120)),
    },
}
"""Class -> its stacks at the published size. OpenVLA-OFT's head is no transformer: `half` and `ends` cut its width, 2 % of the policy.
LingBot-VLA's tower has four blocks that attend to whole pictures: 0.2 % more than the mean."""


def size_of_model(model: Mapping[str, Any]) -> Size:
    """P and F from the sizes in a configuration, upwards: every transformer's blocks, every one of them run on all tokens.

    P = sum over stacks of depth (4 width^2 + 3 width mlp),   F = 2 P tokens;   LARGEST when no stack is described.
    """
    stacks = [part for part in model.values() if isinstance(part, Mapping) and {"depth", "width", "mlp"} <= part.keys()]
    if not stacks:
        return LARGEST
    P = sum(s["depth"] * (4 * s["width"] ** 2 + 3 * s["width"] * s["mlp"]) + s.get("vocab", 0) * s["width"] for s in stacks)
    patches = (model.get("image_size", 224) / model.get("patch_size", 14)) ** 2
    return Size(1.2 * P, 2 * P * (CAMERAS * patches + 100))


def depths(entry: Mapping[str, Any]) -> dict[str, int]:
    """Stack -> its blocks, of an entry of `policies`: those of its configuration, or of its class at the published size."""
    described = {key: part["depth"] for key, part in entry.get("model", {}).items() if isinstance(part, Mapping) and "depth" in part}
    published = {stack: blocks.depth for stack, blocks in STACKS.get(entry["class"], {}).items()}
    return {TOWERS.get(key, key): depth for key, depth in described.items()} or published


def left(name: str, cut: str) -> tuple[float, float]:
    """The fractions of P and F that a cut leaves of a class at its published size. Raises UnknownName."""
    whole, stacks = FULL_SIZE[name], STACKS[name]
    gone = [(stacks[stack], i, part) for stack, i, part in going(stacks, cut)]
    sizes = [(getattr(blocks, part), i not in blocks.dead) for blocks, i, part in gone]
    P, F = sum(size.parameters for size, _ in sizes), sum(size.flops for size, live in sizes if live)
    return 1 - P / whole.parameters, 1 - F / whole.flops


def going(stacks: Mapping[str, Blocks], cut: str) -> set[tuple[str, int, str]]:
    """(stack, block, attention or mlp) of all that a cut makes go."""
    depths = {name: Depth(blocks.depth, tuple(range(blocks.depth)), blocks.dead) for name, blocks in stacks.items()}
    found = set[tuple[str, int, str]]()
    for term in parse_cut(cut).parts:
        parts = [term.sublayer] if term.sublayer else SUBLAYERS
        found |= {(stack, i, part) for stack, blocks in chosen(term, depths).items() for i in blocks for part in parts}
    return found


def chosen(term: Part, depths: Mapping[str, Depth]) -> Mapping[str, set[int]]:
    """Stack -> the blocks of one term; those of a metric as if it knew the dead ones and nothing else."""
    if term.rule not in METRICS:
        return dropped_blocks(term, depths, None)
    aimed = {name: depths[name] for name in targeted(term, depths)}
    blocks = {f"{name}.{i}": BlockScore(float(i not in depth.dead), 0.0) for name, depth in aimed.items() for i in depth.present}
    going = set(least(aimed, blocks, term.count))
    return {name: {i for i in depth.present if f"{name}.{i}" in going} for name, depth in aimed.items()}
