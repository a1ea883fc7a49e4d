"""A container image is used only with the checkout whose lock it was built from."""

import os
import shutil
import subprocess

import pytest
from world import ROOT, World

from dtr import cli
from dtr.errors import DtrError, MissingLibrary
from dtr.provenance import sha256_file
from dtr.stages import LOCK
from dtr.workflow.image import LABEL, OtherLock, check_image

FAKE = """#!/bin/sh
[ "$1 $2 $3" = "inspect --json --labels" ] || exit 9
case $4 in *broken*) echo "FATAL: image format not recognized" >&2; exit 255 ;; esac
echo '{"data": {"attributes": {"labels": {"LABEL": "LOCK"}}}, "type": "container"}'
"""


def apptainer(folder, monkeypatch, lock, label=LABEL):
    (folder / "apptainer").write_text(FAKE.replace("LABEL", label).replace("LOCK", lock))
    (folder / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_image_of_this_lock_is_taken_and_another_refused(tmp_path, monkeypatch):
    image = tmp_path / "dtr.sif"
    image.touch()
    apptainer(tmp_path, monkeypatch, sha256_file(LOCK))
    check_image(image)
    apptainer(tmp_path, monkeypatch, "0" * 64)
    with pytest.raises(OtherLock, match=r"holds the packages of lock 0000000000000000, but .*make image"):
        check_image(image)
    apptainer(tmp_path, monkeypatch, "0" * 64, "something.else")
    with pytest.raises(OtherLock, match="lock none"):
        check_image(image)


def test_no_image_a_broken_one_and_no_apptainer_are_said(tmp_path, monkeypatch):
    with pytest.raises(MissingLibrary, match="make image"):
        check_image(tmp_path / "dtr.sif")
    for name in ("dtr.sif", "broken.sif"):
        (tmp_path / name).touch()
    apptainer(tmp_path, monkeypatch, "0" * 64)
    with pytest.raises(DtrError, match=r"image format not recognized"):
        check_image(tmp_path / "broken.sif")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(MissingLibrary, match="no `apptainer` on the PATH"):
        check_image(tmp_path / "dtr.sif")


def test_dtr_inside_an_image_of_another_lock_does_nothing(tmp_path, monkeypatch, capsys):
    lock = tmp_path / "lock.txt"
    lock.write_bytes(LOCK.read_bytes())
    monkeypatch.setenv("DTR_IMAGE_LOCK", str(lock))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["store", "check"]) == 2 and "repository's own folder" in capsys.readouterr().err  # it got that far
    lock.write_text("torch==1.0\n")
    assert cli.run(["store", "check"]) == 2
    said = capsys.readouterr().err
    assert "this container holds the packages of lock" in said and said.count("\n") == 1


def test_every_rule_runs_in_the_image():
    text = (ROOT / "Snakefile").read_text()
    assert text.index("\ncontainer: IMAGE\n") < text.index("\nrule ") < text.index("\ninclude: ")
    assert [path.name for path in (ROOT / "rules").glob("*.smk") if "container" in path.read_text()] == []


def make_image(folder):
    """`make image` in a machine whose only programs are in `folder`: its result."""
    command = (shutil.which("make"), "--no-print-directory", "--assume-old=setup", "image", f"IMAGE={folder}/dtr.sif", f"CURDIR={folder}")
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}  # of the `make test` that runs this: it would print its folders
    environment = {key: value for key, value in os.environ.items() if key not in outer} | {"PATH": str(folder)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


def test_make_image_asks_nothing_and_says_what_is_missing(tmp_path):
    for program in ("bash", "mkdir"):
        (tmp_path / program).symlink_to(shutil.which(program))
    without = make_image(tmp_path)
    assert without.returncode == 2 and "there is no apptainer on the PATH" in without.stderr
    (tmp_path / "apptainer").write_text('#!/bin/sh\nprintf "%s\\n" "$APPTAINER_CACHEDIR" "$@"\n')
    (tmp_path / "apptainer").chmod(0o755)
    cache, *words = make_image(tmp_path).stdout.splitlines()
    assert cache == f"{tmp_path}/work/cache/apptainer"
    assert words == ["build", "--force", "--bind", f"{tmp_path}:/srv", f"{tmp_path}/dtr.sif", "containers/dtr.def"]


RUNS = """#!/bin/sh
# An Apptainer that says how it was called and runs the job outside of any container
case $1 in
    --version) echo apptainer version 1.4.5 ;;
    inspect) echo '{"data": {"attributes": {"labels": {"dtr.lock": "LOCK"}}}}' ;;
    exec)
        printf '%s\\n' "$@" >>"CALLS"
        while [ "$1" != -c ]; do shift; done
        exec bash -c "$2" ;;
    *) exit 9 ;;
esac
"""


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_a_job_in_the_image_gets_a_gpu_and_a_cache_in_its_own_folder(tmp_path, monkeypatch, profile):
    """Also in a folder whose name the shell would split, and when the program that starts Snakemake says it is elsewhere."""
    checkout, programs = tmp_path / "a checkout", tmp_path / "programs"
    programs.mkdir()
    World.copy(checkout).fake_stages(programs)
    (checkout / "containers/dtr.sif").touch()
    (programs / "apptainer").write_text(RUNS.replace("LOCK", sha256_file(LOCK)).replace("CALLS", str(tmp_path / "calls")))
    (programs / "apptainer").chmod(0o755)
    monkeypatch.setenv("PWD", str(tmp_path))
    arguments = ("--workflow-profile", f"profiles/{profile}", "--executor", "local", "--software-deployment-method", "apptainer")
    World(checkout, [programs]).snakemake(*arguments, "--", "artifacts/smoke/demos/embedded_spatial")
    words = (tmp_path / "calls").read_text().splitlines()
    assert "--nv" in words and words[words.index("--env") + 1] == f"XDG_CACHE_HOME={checkout}/work/cache"
    assert words.count("exec") == 1 and "containers/dtr.sif" in words
