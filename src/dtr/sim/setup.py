"""Prepares this process for LIBERO and robosuite: no question on stdin, no download, no log file, a software GL that exists.

Left alone, the first `import libero.libero` asks on stdin, its asset search ends in a download, and robosuite writes /tmp/robosuite.log
(which belongs to whoever came first on a shared machine). `bootstrap()` closes all of these doors; call it before importing either.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import types
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dtr.errors import MissingAssets, MissingLibrary
from dtr.provenance import atomic_path

PINS = {"mujoco": "3.3.2", "robosuite": "1.4.0", "hf-libero": "0.1.4"}
"""Newer MuJoCo changes LIBERO: 3.3.3 darkens the floor of LIBERO-Object, 3.4.0 breaks a start state of LIBERO-Spatial."""

ASSETS_VARIABLE = "DTR_LIBERO_ASSETS"
"""Environment variable: the folder with the meshes and textures of the real LIBERO suites. The embedded suites need none."""

GL_LIBRARIES = {"egl": ("libEGL.so.1", "libOpenGL.so.0"), "osmesa": ("libOSMesa.so.8",)}
GL_REMEDY = "install a software OpenGL: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"


@functools.cache
def bootstrap() -> None:
    """Make LIBERO and robosuite importable here, once per process.

    Raises MissingLibrary (no GL library, package absent or of another version) and MissingAssets (DTR_LIBERO_ASSETS is no folder).
    """
    check_pins()
    choose_gl()
    silence_robosuite()
    assets = libero_assets() or embedded_assets()
    os.environ["LIBERO_CONFIG_PATH"] = str(write_libero_config(assets))
    with warnings.catch_warnings():  # upstream's own deprecations are not the user's business
        warnings.simplefilter("ignore")
        import libero.libero
        import libero.libero.envs

    libero.libero._assets_path_cache = str(assets)  # else: the package's folder, then a download


@functools.cache
def check_pins() -> None:
    """Raise MissingLibrary unless the simulator packages have exactly the versions of `PINS`."""
    for package, pinned in PINS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise MissingLibrary(f"{package}=={pinned} is not installed: run `make setup`.") from None
        if found != pinned:
            raise MissingLibrary(f"expected {package}=={pinned}, found {found}, which simulates differently: run `make setup`.")


def choose_gl() -> str:
    """The name of the OpenGL binding for MuJoCo (`egl` or `osmesa`), written to MUJOCO_GL: the user's choice, else what loads."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    choices = [wanted] if wanted in GL_LIBRARIES else list(GL_LIBRARIES)
    for name in choices:
        if all(loads(library) for library in GL_LIBRARIES[name]):
            os.environ["MUJOCO_GL"] = name
            os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa would start a thread a core; one simulator a core is better
            return name
    tried = " or ".join(library for name in choices for library in GL_LIBRARIES[name])
    raise MissingLibrary(f"MuJoCo needs {tried} to draw without a screen and none loads: {GL_REMEDY}.")


def loads(library: str) -> bool:
    """Whether the dynamic linker finds this shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def libero_assets() -> Path | None:
    """The folder of the real LIBERO assets, or None when DTR_LIBERO_ASSETS is not set. Raises MissingAssets when it is no such folder."""
    given = os.environ.get(ASSETS_VARIABLE)
    if not given:
        return None
    folder = Path(given).expanduser().resolve()
    if not (folder / "scenes").is_dir():
        raise MissingAssets(
            f"{ASSETS_VARIABLE} should name LIBERO's assets folder (with scenes/ in it), but it is {given!r}: correct or unset it."
        )
    return folder


def require_libero_assets(suite: str) -> Path:
    """The folder of the real LIBERO assets; raises MissingAssets naming `suite` when there is none."""
    folder = libero_assets()
    if folder is None:
        raise MissingAssets(
            f"the suite {suite} needs LIBERO's meshes and textures: set {ASSETS_VARIABLE} to their folder, or use an embedded suite."
        )
    return folder


def embedded_assets() -> Path:
    """The folder of this package's own small assets, which stands where LIBERO looks for its own."""
    return Path(__file__).parent / "embedded" / "assets"


def cache_dir(name: str) -> Path:
    """A writable folder of this user for derived files: $XDG_CACHE_HOME/dtr/<name>, or one under the temporary folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for root in (home / "dtr", Path(tempfile.gettempdir()) / f"dtr-{os.getuid()}"):
        folder = root / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    raise MissingAssets(f"no writable cache folder ({home / 'dtr'} or {tempfile.gettempdir()}): set XDG_CACHE_HOME to one.")


def libero_root() -> Path:
    """LIBERO's own folder in its package, where its BDDL files and initial states lie. Raises MissingAssets when it is not installed."""
    found = importlib.util.find_spec("libero")
    if found is None or not found.submodule_search_locations:
        raise MissingAssets("LIBERO's code is not installed: expected the package hf-libero; run `make setup`.")
    return Path(next(iter(found.submodule_search_locations))) / "libero"


def write_libero_config(assets: Path) -> Path:
    """Write LIBERO's config.yaml to a folder named by its content, so that processes with other assets never share one; the folder."""
    root = libero_root()
    paths = {
        "benchmark_root": root,
        "bddl_files": root / "bddl_files",
        "init_states": root / "init_files",
        "datasets": root / "datasets",
        "assets": assets,
    }
    text = "".join(f'{key}: "{path}"\n' for key, path in paths.items())
    folder = cache_dir("libero-config") / hashlib.sha256(text.encode()).hexdigest()[:16]
    config = folder / "config.yaml"
    if not config.is_file() or config.read_text() != text:
        with atomic_path(config) as temporary:
            temporary.write_text(text)
    return folder


def silence_robosuite() -> None:
    """Load robosuite's macros without its log file in /tmp, and stub the private macros whose absence it warns about.

    Both must happen before `import robosuite`: the log file is opened while that runs.
    """
    if "robosuite" in sys.modules:
        return
    spec = importlib.util.find_spec("robosuite")
    assert spec is not None and spec.submodule_search_locations, "check_pins() found robosuite"
    macros_spec = importlib.util.spec_from_file_location("robosuite.macros", Path(spec.submodule_search_locations[0]) / "macros.py")
    assert macros_spec is not None and macros_spec.loader is not None
    macros = importlib.util.module_from_spec(macros_spec)
    macros_spec.loader.exec_module(macros)
    macros.FILE_LOGGING_LEVEL = None  # type: ignore[attr-defined]
    sys.modules["robosuite.macros"] = macros
    sys.modules["robosuite.macros_private"] = types.ModuleType("robosuite.macros_private")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import robosuite
    robosuite.macros = macros
