"""Pictures of a data set that keeps them as MP4, read frame by frame where they lie.

Frame k of an episode is frame round(from_timestamp * fps) + k of its file. OpenCV's own FFmpeg reads H.264, VP9 and MPEG-4; it has no
decoder of AV1, in which LeRobot encodes unless told otherwise, and such a data set is refused with what mends it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dtr.data.stored import Bytes, Rows, Stored
from dtr.errors import BadDemonstrations
from dtr.provenance import sha256_file

OPEN = 16
"""Films that are held open at a time."""
LATE = 0.5
"""Of a frame: how far a decoded one may lie from where it should."""


@dataclass(frozen=True)
class Film:
    """Where the frames of one episode and camera are: `path`, and the number of the first of them in it."""

    path: Path
    first: int


class Films(Stored):
    """`films[episode][camera]`; `episode` and `step` (N,) of every row; `fps` of the data set."""

    def __init__(self, films: Mapping[int, Sequence[Film]], episode: Rows, step: Rows, fps: float, shape: tuple[int, ...]) -> None:
        self.films, self.episode, self.step, self.fps = films, episode, step, fps
        paths = sorted({film.path for some in films.values() for film in some})
        for path in paths:
            if not path.is_file():
                raise BadDemonstrations(f"expected a film at {path}, it is not there: fetch the data set again.")
        hashes = {path: sha256_file(path) for path in paths}
        places = [(number, [(hashes[film.path], film.first) for film in some]) for number, some in sorted(films.items())]
        digest = hashlib.sha256(f"{places} {fps}".encode() + np.ascontiguousarray(step).tobytes())
        super().__init__((len(episode), *shape), digest.hexdigest())

    def read(self, rows: Rows) -> Bytes:
        """In the order in which they lie in their files: a film is read forwards where it can be."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        wanted = [
            (film.path, film.first + int(self.step[row]), i, c)
            for i, row in enumerate(rows)
            for c, film in enumerate(self.films[int(self.episode[row])])
        ]
        for path, number, i, c in sorted(wanted):
            out[i, c] = frame(opened(path, os.getpid(), path.stat().st_mtime_ns), path, number, self.fps, self.shape[2:])
        return out


@lru_cache(OPEN)
def opened(path: Path, process: int, changed: int) -> Any:
    """OpenCV's reader of a film, of this process alone: forks share a file's position. BadDemonstrations when it reads nothing of it."""
    import cv2

    film = cv2.VideoCapture(str(path))
    if not film.isOpened() or not film.grab():
        raise BadDemonstrations(
            f"{path} cannot be decoded (OpenCV reads H.264, VP9 and MPEG-4, but no AV1): encode it anew with "
            "`ffmpeg -i IN -c:v libx264 -crf 10 -g 2 OUT`, or use a data set of pictures (for LIBERO: HuggingFaceVLA/libero)."
        )
    return film


def frame(film: Any, path: Path, number: int, fps: float, shape: tuple[int, ...]) -> Bytes:
    """Frame `number`, (H, W, 3). BadDemonstrations when it is missing, another one or of another size."""
    import cv2

    if int(film.get(cv2.CAP_PROP_POS_FRAMES)) != number:
        film.set(cv2.CAP_PROP_POS_FRAMES, number)
    there, decoded = film.read()
    if not there or abs(film.get(cv2.CAP_PROP_POS_MSEC) * fps / 1000 - number) > LATE:
        raise BadDemonstrations(f"{path} lacks frame {number} at {fps:g} a second: fetch the data set again.")
    if decoded.shape != tuple(shape):
        raise BadDemonstrations(f"{path} has pictures of {decoded.shape} where info.json says {tuple(shape)}: fetch the data set again.")
    rgb: Bytes = decoded[:, :, ::-1]
    return rgb
