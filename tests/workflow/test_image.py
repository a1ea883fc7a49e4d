"""A container image is used only with the checkout whose lock it was built from."""

import pytest

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
