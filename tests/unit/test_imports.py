"""The shape of the code: imports point one way, files stay short, nothing is caught blindly, nothing names one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/dtr"
MODULES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "lenders", "lifeline", "lock", "progress", "provenance", "records", "robots", "stages", "stats"}
"""What everything may import; it imports nothing of dtr but itself."""
ARROWS = {
    "wire": set(),
    "policies": set(),
    "cost": {"policies"},
    "dropping": {"cost", "policies"},
    "sim": {"data"},
    "data": {"sim"},
    "recovery": {"cost", "data", "dropping", "policies"},
    "importance": {"cost", "data", "dropping", "policies", "recovery"},
    "rollout": {"dropping", "policies", "sim", "wire"},
    "hub": {"cost", "data", "dropping", "policies", "recovery"},
    "report": {"cost", "dropping", "importance", "policies", "recovery", "rollout", "sim", "wire"},
} | {name: set() for name in GROUND}
"""Part of dtr -> the parts that it may import beside GROUND. Parts that are not named here are at the top: nothing below imports them."""
NEEDS = {"policies": {"torch", "numpy", "safetensors", "PIL", "simplejpeg"}, "wire": {"numpy", "safetensors"}}
"""Foreign environments import these parts. Pillow and simplejpeg read and write JPEG (dtr.policies.tensorflow_pictures)."""


def part(module: str) -> str:
    """`dtr.policies.gate` -> `policies`; `dtr` itself -> ``."""
    return [*module.split("."), ""][1]


def name_of(file: Path) -> str:
    """The dotted name of a module's file."""
    names = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(tree: ast.Module, nested: bool = True) -> Iterator[str]:
    """Dotted names that a module imports; `nested`: also inside functions and `if TYPE_CHECKING`."""
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def trees() -> dict[str, ast.Module]:
    """Module name -> its syntax."""
    return {name_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in MODULES}


@pytest.mark.parametrize("lower", sorted(ARROWS))
def test_imports_point_one_way(lower: str) -> None:
    seen = {
        (module, part(other))
        for module, tree in trees().items()
        if part(module) == lower
        for other in imported(tree)
        if other.startswith("dtr.") and part(other) != lower
    }
    allowed = ARROWS[lower] | GROUND if lower not in GROUND else GROUND
    assert not {(module, to) for module, to in seen if to not in allowed}


def test_modules_form_no_circle() -> None:
    found = trees()
    graph = {
        module: {other for other in imported(tree, nested=False) if other in found and other != module} for module, tree in found.items()
    }
    graph = {module: {other for other in to if not module.startswith(f"{other}.")} for module, to in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("lower", NEEDS)
def test_what_others_import_needs_little(lower: str) -> None:
    outside = {other.split(".")[0] for module, tree in trees().items() if part(module) == lower for other in imported(tree)}
    assert outside - set(sys.stdlib_module_names) - {"dtr"} <= NEEDS[lower]


def test_no_grab_bags() -> None:
    assert not [file for file in MODULES if re.search(r"(^|_)(utils?|common|helpers?|misc)$", file.stem)]


def test_files_are_short() -> None:
    files = [*MODULES, *(ROOT / "tests").rglob("*.py"), ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    assert not {str(file.relative_to(ROOT)): n for file in files if (n := len(file.read_text(encoding="utf-8").splitlines())) > 300}


def test_what_is_caught_blindly_is_raised_again() -> None:
    def blind(handler: ast.ExceptHandler) -> bool:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        return any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds)

    swallowed = [
        f"{module} line {node.lineno}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and blind(node) and not isinstance(node.body[-1], ast.Raise)
    ]
    assert not swallowed


FOREIGN = {
    "an absolute path of one machine": r"(?<![\w.~})*$-])/(?:work|farm|home/\w+)/",
    "a package registry": r"pypi\.org|pythonhosted\.|download\.pytorch|conda\.anaconda|deb\.debian|proxy\.golang|--(?:extra-)?index-url",
}

NOT_OURS = ("store/",)
"""Data of the cache."""


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_tracked_names_one_machine(what: str) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    hits = []
    for name in filter(None, listed.stdout.split("\0")):
        file = ROOT / name
        data = file.read_bytes() if file.is_file() and not name.startswith(NOT_OURS) else b"\0"
        if b"\0" not in data:
            hits += [f"{name}: {match.group()}" for match in re.finditer(FOREIGN[what], data.decode("utf-8", "replace"))]
    assert not hits


def test_the_snakefile_imports_neither_torch_nor_a_simulator() -> None:
    """Every `snakemake -n` pays for what the Snakefile imports, and every job once more."""
    program = "import sys; import dtr.workflow.targets, dtr.workflow.adoption, dtr.stages; print([m for m in HEAVY if m in sys.modules])"
    heavy = program.replace("HEAVY", "('torch', 'mujoco', 'robosuite', 'pyarrow', 'scipy')")
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.strip() == "[]"
