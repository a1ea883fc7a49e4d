"""Demonstrations in memory, ready to be drawn from: one row a frame, whatever file they came from.

N frames, C cameras (agent view, then wrist), H x W pixels, K actions a chunk. Pictures stay uint8 (64 px, two cameras: 24 KB a
frame); a batch becomes float only when it is drawn. Those of a large data set stay on the disk (`dtr.data.stored`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dtr.data.stored import KEPT_BYTES, Joined, Stored
from dtr.errors import BadDemonstrations


@dataclass(frozen=True)
class Dataset:
    """`images` (N, C, H, W, 3) uint8, upright as policies see them, an array or stored; `state` (N, S) float32; `actions` (N, A) float32;
    `episode` (N,) int64 ascending; `task` (N,) int64 into `instructions`."""

    images: NDArray[np.uint8] | Stored
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    episode: NDArray[np.int64]
    task: NDArray[np.int64]
    instructions: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.episode)
        for name in ("images", "state", "actions", "task"):
            if len(getattr(self, name)) != n:
                rows = len(getattr(self, name))
                raise BadDemonstrations(f"{name} must have one row for each of {n} frames, got {rows}: render the data again.")
        if n == 0:
            raise BadDemonstrations("expected at least one frame of demonstrations, got none: record some episodes first.")
        if self.images.ndim != 5 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            got = f"{self.images.shape} {self.images.dtype}"
            raise BadDemonstrations(f"images must be (N, cameras, H, W, 3) uint8, got {got}: render the data again.")
        if (np.diff(self.episode) < 0).any():
            raise BadDemonstrations("frames must be ordered by episode, got them mixed: sort them by episode_index and frame_index.")
        stray = (self.task < 0) | (self.task >= len(self.instructions))
        if stray.any():
            row = int(stray.argmax())
            raise BadDemonstrations(
                f"task must be one of the {len(self.instructions)} instructions, got {int(self.task[row])} in frame {row}: "
                "fetch the data or render it again."
            )
        for name in ("state", "actions"):
            bad = ~np.isfinite(getattr(self, name)).all(axis=1)
            if bad.any():
                row = int(bad.argmax())
                raise BadDemonstrations(
                    f"{name} must be finite, got NaN or infinity in frame {row} (episode {int(self.episode[row])}): "
                    "drop that episode or record it again."
                )

    def __len__(self) -> int:
        return len(self.episode)

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """(N,) row of the last frame of each frame's episode."""
        ends: NDArray[np.int64] = np.searchsorted(self.episode, self.episode, side="right") - 1
        return ends

    def future(self, rows: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """(B, K) the rows of the next K=`length` actions from each of `rows` (B,): t, t+1, ...

        Past the end of an episode its last row is repeated, which is what OpenVLA-OFT trains on (its RLDS loader pads so): the
        goal is reached there, so the expert moves little and the hand stays as it is.
        """
        ahead: NDArray[np.int64] = np.minimum(rows[:, None] + np.arange(length), self.last[rows][:, None])
        return ahead

    def hold_out(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on and rows held out: whole episodes, round(fraction * E) of them, drawn by `seed`."""
        episodes = np.unique(self.episode)
        held = np.random.default_rng([seed, 1]).permutation(episodes)[: round(fraction * len(episodes))]
        mask = np.isin(self.episode, held)
        return np.flatnonzero(~mask), np.flatnonzero(mask)

    @cached_property
    def sha256(self) -> str:
        """Hash of everything a batch can be made of, whatever the size.

        Pictures in memory by their bytes, stored ones by those that they are encoded as, of a mixture that is not held as one array the
        hashes of its parts. Which it is follows from the sizes alone (`KEPT_BYTES`), so the same folders have one hash on every machine;
        but the same pictures encoded otherwise, or joined in other parts, have another.
        """
        total = hashlib.sha256("\n".join(self.instructions).encode())
        numbers = (self.state, self.actions, self.episode, self.task)
        if isinstance(self.images, Stored):
            total.update(f"{self.images.shape} {self.images.digest}".encode())
        for array in numbers if isinstance(self.images, Stored) else (*numbers, self.images):
            total.update(f"{array.dtype.str} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()


def join(parts: list[Dataset]) -> Dataset:
    """Several data sets as one: episodes renumbered, instructions merged (equal sentences are one task)."""
    if not parts:
        raise BadDemonstrations("expected at least one data set, got none: pass --data DIR.")
    shapes = {(p.images.shape[1:], p.state.shape[1], p.actions.shape[1]) for p in parts}
    if len(shapes) > 1:
        raise BadDemonstrations(f"data sets to join must agree in image, state and action shapes, got {sorted(shapes)}: render them alike.")
    instructions = tuple(dict.fromkeys(sentence for p in parts for sentence in p.instructions))
    episodes, tasks, first = [], [], 0
    for part in parts:
        numbers, inverse = np.unique(part.episode, return_inverse=True)
        episodes.append(first + inverse.astype(np.int64))
        first += len(numbers)
        tasks.append(np.array([instructions.index(s) for s in part.instructions], np.int64)[part.task])
    if len(parts) == 1:  # without a copy of the pictures
        p = parts[0]
        return Dataset(p.images, p.state, p.actions, episodes[0], tasks[0], instructions)
    images = [p.images for p in parts]
    arrays = [held for held in images if not isinstance(held, Stored)]
    return Dataset(
        np.concatenate(arrays) if len(arrays) == len(images) and sum(a.nbytes for a in arrays) <= 2 * KEPT_BYTES else Joined(images),
        np.concatenate([p.state for p in parts]),
        np.concatenate([p.actions for p in parts]),
        np.concatenate(episodes),
        np.concatenate(tasks),
        instructions,
    )
