"""Preparing a process: pins, GL, no question, no log file, no download."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dtr.errors import MissingAssets, MissingLibrary
from dtr.sim import setup


def test_the_installed_simulator_is_the_pinned_one():
    assert {package: version(package) for package in setup.PINS} == {"mujoco": "3.3.2", "robosuite": "1.4.0", "hf-libero": "0.1.4"}


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(setup, "version", lambda package: "3.8.1")
    with pytest.raises(MissingLibrary, match=r"expected mujoco==3\.3\.2, found 3\.8\.1"):
        setup.check_pins.__wrapped__()


def test_missing_gl_names_the_package_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(setup, "loads", lambda library: False)
    with pytest.raises(MissingLibrary, match=r"libEGL.* or libOSMesa.*apt-get install libegl1") as caught:
        setup.choose_gl()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "present", "chosen"), [("", "libOSMesa", "osmesa"), ("", "lib", "egl"), ("osmesa", "lib", "osmesa"), ("glfw", "lib", "egl")]
)
def test_gl_is_the_users_choice_or_what_loads(monkeypatch, wanted, present, chosen):
    monkeypatch.setenv("MUJOCO_GL", wanted)
    monkeypatch.setattr(setup, "loads", lambda library: library.startswith(present))
    assert setup.choose_gl() == os.environ["MUJOCO_GL"] == chosen


def test_a_driver_without_contexts_is_a_missing_library(monkeypatch):
    setup.bootstrap()
    from robosuite.utils import binding_utils

    from dtr.sim.rendering import probe_gl

    def no_display(**_):
        raise ImportError("Cannot initialize a EGL device display.")

    monkeypatch.setattr(binding_utils, "GLContext", no_display)
    with pytest.raises(MissingLibrary, match=r"gives no context .*apt-get install"):
        probe_gl()


def test_assets_are_asked_for_by_their_variable(monkeypatch, tmp_path):
    monkeypatch.delenv(setup.ASSETS_VARIABLE, raising=False)
    with pytest.raises(MissingAssets, match=r"libero_goal .*DTR_LIBERO_ASSETS"):
        setup.require_libero_assets("libero_goal")
    monkeypatch.setenv(setup.ASSETS_VARIABLE, str(tmp_path))
    with pytest.raises(MissingAssets, match="scenes/"):
        setup.libero_assets()
    (tmp_path / "scenes").mkdir()
    assert setup.require_libero_assets("libero_goal") == tmp_path


def test_processes_with_other_assets_have_other_configurations(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = (setup.write_libero_config(tmp_path / name) for name in ("a", "b"))
    assert one != two
    assert f'assets: "{tmp_path / "a"}"' in (one / "config.yaml").read_text()


def test_cache_falls_back_where_home_is_not_writable(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # a file cannot hold folders, not even root's
    monkeypatch.setattr(setup.tempfile, "gettempdir", lambda: str(tmp_path))
    assert setup.cache_dir("meshes") == tmp_path / f"dtr-{os.getuid()}" / "meshes"


def test_a_fresh_home_asks_nothing_logs_nothing_and_downloads_nothing(tmp_path):
    """With stdin closed a question is an EOFError; without a network module a download is an ImportError."""
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "import logging; opened = []; keep = logging.FileHandler.__init__\n"
        "logging.FileHandler.__init__ = lambda self, *a, **k: (opened.append(a), keep(self, *a, **k))[1]\n"
        "from dtr.sim.setup import bootstrap; bootstrap(); bootstrap()\n"
        "import libero.libero as L; assert L.get_assets_path().endswith('embedded/assets'), L.get_assets_path()\n"
        "assert not opened, opened"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIBERO", "MUJOCO", "DTR", "XDG"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(setup.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert not (tmp_path / ".libero").exists()
