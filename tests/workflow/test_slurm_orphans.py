"""Jobs that a killed run left in Slurm's queue are ended, those of others are not. (With a real cluster: tests/cluster.)"""

import pytest

from dtr.errors import DtrError
from dtr.workflow.slurm import LOGS, end_orphans

SQUEUE = """#!/bin/sh
[ "$*" = "--me --noheader --format=%A|%j|%Z" ] || exit 9
[ -e QUEUE ] && cat QUEUE || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
"""
SCANCEL = """#!/bin/sh
echo "$*" >>CANCELLED
for job; do [ "$job" = STUBBORN ] || sed -i "/^$job|/d" QUEUE; done
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """The file behind a stand-in for squeue and scancel."""
    folder, file = tmp_path / "bin", tmp_path / "queue.txt"
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(
            text.replace("QUEUE", str(file)).replace("CANCELLED", str(tmp_path / "cancelled.txt")).replace("STUBBORN", "99")
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (tmp_path / "mine" / LOGS).mkdir(parents=True)
    return file


def test_only_our_jobs_of_this_folder_are_ended(queue, tmp_path, capsys):
    mine, others = tmp_path / "mine", ["4|dtr_abc|/elsewhere", f"5|training|{tmp_path}/mine"]
    queue.write_text("\n".join([f"3|dtr_abc|{mine}", f"12|dtr_def|{mine}/", *others]) + "\n")
    assert end_orphans(mine) == ["3", "12"]
    assert queue.read_text().splitlines() == others
    assert "ending 2 Slurm jobs that a killed run left: 3, 12" in capsys.readouterr().err
    assert end_orphans(mine) == []
    assert (tmp_path / "cancelled.txt").read_text() == "3 12\n"


def test_jobs_that_do_not_end_and_a_silent_slurm_stop_the_run(queue, tmp_path):
    queue.write_text(f"99|dtr_abc|{tmp_path}/mine\n")
    with pytest.raises(DtrError, match="jobs 99 of a killed run do not end"):
        end_orphans(tmp_path / "mine", gone_s=0)
    queue.unlink()
    with pytest.raises(DtrError, match="Unable to contact"):
        end_orphans(tmp_path / "mine")


def test_where_nothing_was_ever_submitted_nobody_is_asked(queue, tmp_path):
    assert not queue.exists() and end_orphans(tmp_path) == []
