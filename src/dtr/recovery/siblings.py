"""Two arms that chose the same blocks are one training: the second takes the weights of the first, and says so.

Recovered weights are a function of (weights before, blocks and parts that stay, demonstrations, recipe, seed) and of nothing else: that is
what a policy file's header holds, and what a test holds bit for bit. So an arm whose plan leaves the same policy as a finished arm's, by
another name of the cut, gets that arm's file, byte for byte: the weights that its own training would have made, in a header that names the
plan under which they were made. So equal arms are one object in any cache, and play equal episodes. The run record beside the file names
the arm whose file it was (`shared_with`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtr.dropping.same_blocks import same_blocks
from dtr.errors import DtrError
from dtr.lenders import lenders
from dtr.policies.file import read_header
from dtr.provenance import atomic_path


def find_sibling(folder: Path | None, out: Path, provenance: Mapping[str, Any], plan: Mapping[str, Any] | None) -> Path | None:
    """A finished policy below `folder` whose training is the one that `provenance` and `plan` describe; None where there is none."""
    if folder is None or plan is None:
        return None
    arms = folder.glob(f"*/{out.parent.parent.name}/{out.parent.name}/{out.name}")
    for path in lenders(arms, "recover"):
        if path == out:
            continue
        try:
            header = read_header(path)
        except DtrError:  # somebody else's trouble: this arm can be trained
            continue
        if header["provenance"] == dict(provenance) and same_blocks(header["plan"], plan):
            return path
    return None


def take(sibling: Path, out: Path) -> None:
    """Copy the sibling's file to `out`, its shards and its loss curve first: a policy that is there is whole."""
    for name in (*read_header(sibling)["shards"], f"{sibling.name}.losses.jsonl", sibling.name):
        if (source := sibling.with_name(name)).exists():
            with atomic_path(out.with_name(name)) as temporary:
                shutil.copyfile(source, temporary)
