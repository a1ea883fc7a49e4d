"""envs/setup.sh with stand-ins for Python and apt-get: it mends what an interruption or a copied folder left, and keeps its log here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/sh
# Stands for Python: notes its arguments; `-m venv` copies it into the environment, and without bin/pip there is no pip.
echo "$*" >>"$NOTES"
case "$*" in
    *'-m venv'*)
        for folder; do :; done
        case "$*" in *--clear*) rm -rf "$folder" ;; esac
        mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" && touch "$folder/bin/pip" ;;
    *'-m pip'*) [ -e "${0%/*}/pip" ] ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    (folder / "envs").mkdir(parents=True)
    shutil.copy2(ROOT / "envs/setup.sh", folder / "envs")
    (folder / "envs/lock.txt").write_text("none==1\n")
    (folder / "pyproject.toml").write_text("")
    program(tmp_path / "programs/python", PYTHON)
    program(tmp_path / "programs/ldconfig", "#!/bin/sh\necho libEGL.so.1 libOpenGL.so.0 libEGL_mesa.so\n")
    return folder


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def set_up(folder, python=None):
    """The finished process, and what Python was asked for."""
    programs, notes = folder.parent / "programs", folder.parent / "notes"
    notes.write_text("")
    environment = os.environ | {"PYTHON": python or f"{programs}/python", "NOTES": str(notes)}
    environment["PATH"] = f"{folder}/.venv/bin:{programs}:{os.environ['PATH']}"  # as make sets it
    done = subprocess.run([folder / "envs/setup.sh"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done, notes.read_text()


def test_nothing_is_done_twice(checkout):
    done, asked = set_up(checkout)
    assert done.returncode == 0 and "-m venv" in asked and "pip" in asked and "install" in asked, done.stderr
    done, asked = set_up(checkout)
    assert done.returncode == 0 and done.stderr == "" and "-m venv" not in asked and "install" not in asked


def test_an_environment_without_pip_is_made_anew(checkout):
    program(checkout / ".venv/bin/python", PYTHON)
    done, asked = set_up(checkout)
    assert done.returncode == 0 and "-m venv --clear" in asked, done.stderr
    assert (checkout / ".venv/dtr-installed").read_text().endswith(f" {checkout}\n")


def test_an_environment_is_not_made_by_its_own_python(checkout):
    program(checkout / ".venv/bin/python", PYTHON.replace("rm -rf", "exit 1; rm -rf"))
    assert set_up(checkout, "python")[0].returncode == 0


@pytest.mark.parametrize("finished", [True, False])
def test_an_environment_that_was_copied_with_its_folder_is_made_anew(checkout, finished):
    set_up(checkout)
    (checkout / ".venv/old").touch()
    if not finished:  # interrupted while packages were installed, then copied
        (checkout / ".venv/dtr-installed").write_text(f"unfinished {checkout}\n")
    copy = shutil.copytree(checkout, checkout.with_name("copy of checkout"))
    done, asked = set_up(copy)
    assert done.returncode == 0 and "-m venv --clear" in asked and not (copy / ".venv/old").exists(), done.stderr
    assert "-m venv" not in set_up(copy)[1] and "-m venv" not in set_up(checkout)[1]


def test_an_interrupted_installation_goes_on_in_the_same_environment(checkout):
    set_up(checkout)
    (checkout / ".venv/dtr-installed").write_text(f"unfinished {checkout}\n")
    done, asked = set_up(checkout)
    assert done.returncode == 0 and "-m venv" not in asked and "install --quiet --no-deps -r envs/lock.txt" in asked


def test_the_log_of_apt_get_stays_in_the_checkout(checkout):
    program(checkout.parent / "programs/ldconfig", "#!/bin/sh\n")
    program(checkout.parent / "programs/apt-get", "#!/bin/sh\necho no such package; exit 100\n")
    program(checkout.parent / "programs/id", "#!/bin/sh\necho 0\n")
    before = set(Path("/tmp").glob("dtr*"))
    done, _ = set_up(checkout)
    assert done.returncode == 2 and "log: logs/setup-apt.log" in done.stderr
    assert "no such package" in (checkout / "logs/setup-apt.log").read_text()
    assert set(Path("/tmp").glob("dtr*")) == before
