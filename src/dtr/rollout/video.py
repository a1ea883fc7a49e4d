"""Episodes to look at: films of chosen ones, and one sheet with the last picture of each failure.

VP9 in MP4 plays in browsers and needs nothing but the OpenCV wheel (no ffmpeg program); MPEG-4 part 2 where that encoder is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dtr.errors import DiskFull, MissingLibrary
from dtr.provenance import atomic_path
from dtr.rollout.worker import Array

CODECS = ("vp09", "mp4v")
STEPS_PER_S = 20
COLUMNS = 4
SIDE = 256
"""Small pictures are enlarged to about this many pixels."""


def write_film(path: Path, film: Array) -> None:
    """Write (N, H, W, 3) uint8 pictures, one a control step, as an MP4 in real time (20 a second). Raises MissingLibrary, DiskFull."""
    with atomic_path(path) as temporary:
        written = temporary.with_suffix(".mp4")  # OpenCV chooses the container by the ending
        try:
            written.touch()  # OpenCV would take a folder that may not be written to for a missing encoder
            encode(written, enlarge(film))
            found = count_pictures(written)
            if found != len(film):  # OpenCV reports no full disk
                raise DiskFull(
                    f"{path} should have {len(film)} pictures, but {found} were written, as on a full disk: "
                    "free some space there and run the same command again."
                )
            written.replace(temporary)
        finally:
            written.unlink(missing_ok=True)


def encode(path: Path, pictures: Array) -> None:
    """Write (N, H, W, 3) uint8 pictures with the first encoder that is there. Raises MissingLibrary."""
    import cv2

    size = (pictures.shape[2], pictures.shape[1])
    for codec in CODECS:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), STEPS_PER_S, size)
        if writer.isOpened():
            for picture in pictures:
                writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
            writer.release()
            return
    raise MissingLibrary(f"OpenCV has none of the encoders {', '.join(CODECS)}: install opencv-python-headless with `make setup`.")


def count_pictures(path: Path) -> int:
    """How many pictures of a film can be read back."""
    import cv2

    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def write_contact_sheet(path: Path, pictures: Sequence[tuple[str, Array]]) -> None:
    """Write (caption, (H, W, 3) uint8) pictures as one PNG, at most COLUMNS a line."""
    from PIL import Image, ImageDraw

    images = [(caption, enlarge(picture[None])[0]) for caption, picture in pictures]
    height, width = images[0][1].shape[:2]
    margin = 16
    columns = min(COLUMNS, len(images))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * (height + margin)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(images):
        x, y = i % columns * width, i // columns * (height + margin)
        sheet.paste(Image.fromarray(image), (x, y + margin))
        draw.text((x + 2, y + 2), caption[: width // 6], fill="black")
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def enlarge(film: Array) -> Array:
    """(N, H, W, 3) -> (N, zH, zW, 3): every pixel repeated, so that small pictures can be seen."""
    zoom = max(1, SIDE // film.shape[1])
    larger: Array = film.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return larger
