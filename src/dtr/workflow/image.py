"""The container image holds the packages of one lock file, and the checkout has one: they must be the same.

Looked at twice: when a run with containers begins, by the image's label, and by every `dtr` inside an image (dtr.cli), by the lock
file that the image was built from. containers/dtr.def writes both.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from dtr.errors import DtrError, MissingLibrary
from dtr.provenance import sha256_file
from dtr.stages import LOCK

IMAGE = "containers/dtr.sif"
LABEL = "dtr.lock"
VARIABLE = "DTR_IMAGE_LOCK"
"""Inside an image: where the lock file lies that it was built from."""


class OtherLock(DtrError):
    """An image that was built from another lock file than the checkout's."""


def check_inside() -> None:
    """Raises OtherLock in a container whose packages are not those of this checkout's lock. Nothing happens outside of one."""
    if VARIABLE in os.environ:
        compare(sha256_file(os.environ[VARIABLE]), "this container")


def check_image(image: Path) -> None:
    """The same for an image file, by its label. Raises MissingLibrary where there is no such image or no Apptainer."""
    if not image.exists():
        raise MissingLibrary(f"there is no {image}: build it with `make image`, or fetch one that was built from this lock.")
    compare(labels(image).get(LABEL, "none"), str(image))


def compare(lock: str, where: str) -> None:
    """Raises OtherLock unless `lock` is the hash of the checkout's lock file."""
    expected = sha256_file(LOCK)
    if lock != expected:
        raise OtherLock(
            f"{where} holds the packages of lock {lock[:16]}, but this checkout's envs/lock.txt is {expected[:16]}: build it again with "
            "`make image`, or check out the version that it was built for."
        )


def labels(image: Path) -> dict[str, str]:
    """The labels of an image. Not by spython: 0.3.14 calls `singularity`, which an installed Apptainer need not bring."""
    command = ("apptainer", "inspect", "--json", "--labels", str(image))
    try:
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=120).stdout
        return dict(json.loads(said)["data"]["attributes"]["labels"])
    except FileNotFoundError as error:
        raise MissingLibrary("there is no `apptainer` on the PATH: load its module, or run without containers.") from error
    except (subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise DtrError(f"apptainer cannot read {image} ({said}): build it again with `make image`.") from error
