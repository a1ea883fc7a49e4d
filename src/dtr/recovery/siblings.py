"""Two arms that chose the same blocks are one training: the second takes the weights of the first, and says so.

Recovered weights are a function of (weights before, blocks and parts that stay, demonstrations, recipe, seed) and of nothing else: that is
what a policy file's header holds, and what a test holds bit for bit. So an arm whose plan leaves the same policy as a finished arm's, by
another name of the cut, gets that arm's weights under its own plan: the bytes that its own training would have made. The run record
beside the file names the arm whose training it was (`shared_with`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from dtr.dropping.same_blocks import same_blocks
from dtr.errors import DtrError
from dtr.policies.file import read_header, write_tensors
from dtr.provenance import atomic_path, canonical_json


def find_sibling(folder: Path | None, out: Path, provenance: Mapping[str, Any], plan: Mapping[str, Any] | None) -> Path | None:
    """A finished policy below `folder` whose training is the one that `provenance` and `plan` describe; None where there is none."""
    if folder is None or plan is None:
        return None
    for path in sorted(folder.glob(f"*/{out.parent.parent.name}/{out.parent.name}/{out.name}")):
        if path == out:
            continue
        try:
            header = read_header(path)
        except DtrError:  # somebody else's trouble: this arm can be trained
            continue
        if header["provenance"] == dict(provenance) and same_blocks(header["plan"], plan):
            return path
    return None


def take(sibling: Path, out: Path, plan: Mapping[str, Any]) -> None:
    """Write `out` with the sibling's weights, loss curve and header, but for the plan."""
    header = read_header(sibling) | {"plan": dict(plan)}
    with safe_open(sibling, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    for name in (*header["shards"], f"{sibling.name}.losses.jsonl"):
        if (source := sibling.with_name(name)).exists():
            with atomic_path(out.with_name(name)) as temporary:
                shutil.copyfile(source, temporary)
    with atomic_path(out) as temporary:
        write_tensors(temporary, tensors, {"dtr": canonical_json(header)})
