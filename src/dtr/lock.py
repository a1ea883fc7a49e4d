"""The lock: every package that the project needs, transitive ones too, with one exact version.

`pyproject.toml` names what the code imports; `python -m dtr.lock --write` follows the requirements of the packages that
are installed here, for every supported Python, and writes envs/lock.txt. It is installed with `pip install --no-deps`, because
robosuite, bddl and hf-libero declare packages that nothing here imports. torch has no local version tag and no hash, so a CPU or a
CUDA build satisfies it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dtr.errors import BadConfig
from dtr.provenance import digest, write_text

PYTHONS = ("3.11", "3.12", "3.13")
OVER_DECLARING = frozenset({"robosuite", "bddl", "hf-libero"})  # their requirements are not followed
HEADER = "# Made by `python -m dtr.lock --write` from pyproject.toml; install with `pip install --no-deps -r envs/lock.txt`.\n"


def roots(pyproject: Path) -> list[str]:
    """The requirements that pyproject.toml names, for users and for developers."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def closure(names: Iterable[str], python: str) -> dict[str, str]:
    """Package -> installed version for `names` and all they require under Python `python` on this platform.

    Raises BadConfig when a required package is not installed here.
    """
    environment = {key: str(value) for key, value in default_environment().items()}
    environment |= {"python_version": python, "python_full_version": f"{python}.0"}
    pins: dict[str, str] = {}
    extras_of: dict[str, frozenset[str]] = {}
    todo = [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in pins and extras <= extras_of[name]:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError as error:
            raise BadConfig(f"the lock needs {requirement} on Python {python}, which is not installed here: pip install it.") from error
        pins[name] = installed.version.split("+")[0]
        extras_of[name] = extras_of.get(name, frozenset()) | extras
        if name in OVER_DECLARING:
            continue
        for text in installed.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras_of[name])):
                todo.append(needed)
    return pins


def lock_text(pins_of: Mapping[str, Mapping[str, str]]) -> str:
    """The lock's text from Python version -> pins; a package that only some versions need gets an environment marker."""
    lines = []
    for name in sorted({name for pins in pins_of.values() for name in pins}):
        pythons = [python for python, pins in pins_of.items() if name in pins]
        version = pins_of[pythons[0]][name]
        marker = "" if len(pythons) == len(pins_of) else " ; " + " or ".join(f'python_version == "{python}"' for python in pythons)
        lines.append(f"{name}=={version}{marker}\n")
    return HEADER + "".join(lines)


def read_lock(path: Path) -> dict[str, str]:
    """Package -> pinned version."""
    found = re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {str(name): str(version) for name, version in found}


def lock_digest(path: Path, packages: Sequence[str]) -> str:
    """A digest of the pins of `packages` alone: a stage reruns when one of *its* packages changes, not when a linter does."""
    pins = read_lock(path)
    missing = sorted(set(packages) - set(pins))
    if missing:
        raise BadConfig(f"{path} pins no {', '.join(missing)}: add it to pyproject.toml and write the lock again.")
    return digest({name: pins[name] for name in packages})


def main(argv: Sequence[str] | None = None) -> None:
    """`python -m dtr.lock [--write]`: print or write the lock for the packages installed here."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--write", action="store_true")
    write = arguments.parse_args(argv).write
    names = roots(Path("pyproject.toml"))
    text = lock_text({python: closure(names, python) for python in PYTHONS})
    if write:
        write_text("envs/lock.txt", text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
