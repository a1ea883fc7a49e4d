"""Where the golden folders lie, and how tests spoil a copy of one."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "golden"


def change(file: Path, key: str, by: float) -> None:
    """Add `by` to the first number of one tensor of a safetensors file."""
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    tensors[key].view(-1)[0] += by
    save_file(tensors, file)


def quantities(folder: Path) -> set[str]:
    """Every quantity that a folder holds, under the name that the comparison prints."""
    gates = json.loads((folder / "gates.json").read_text())["values"]
    outputs, drops = (set(load_file(folder / f"{name}.safetensors")) for name in ("outputs", "drops"))
    return outputs | {f"drop.{name}" for name in drops} | {f"gate.{stack}.{i}" for stack, values in gates.items() for i in values}
