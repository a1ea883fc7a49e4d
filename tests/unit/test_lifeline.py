"""Helpers end when the process that started them is killed or interrupted, and a killed helper ends the run."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dtr.errors import DtrError
from dtr.lifeline import fork, spread

PROGRAM = """
import os, signal, sys, time
from dtr.lifeline import spread
def play(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    spread(play, [(600,), (600,)], 1, print)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_helpers_end_with_a_killed_or_interrupted_parent(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        helper = int(parent.stdout.readline())
        held = [line for line in Path(f"/proc/{parent.pid}/maps").read_text().splitlines() if "/dev/shm" in line]
        parent.send_signal(number)
        said = parent.stderr.read()
    assert not held, "a process that holds named semaphores leaves them when it is killed"
    assert "leaked" not in said and (number == signal.SIGINT or not said), said
    for _ in range(200):
        try:
            os.kill(helper, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(helper, signal.SIGKILL)
    raise AssertionError("the helper outlived its parent by 10 s")


def test_a_killed_helper_ends_the_run():
    with pytest.raises(DtrError, match="fewer --processes"):
        spread(signal.raise_signal, [(signal.SIGKILL,)], 1, print)  # a helper imports its body; these tests it cannot


def test_a_crashed_helper_is_no_killed_one(capfd):
    with pytest.raises(RuntimeError, match="exit code 1"):
        spread(int, [("x",)], 1, print)
    assert "invalid literal for int" in capfd.readouterr().err


def test_results_come_in_order_and_errors_as_they_are():
    ended = []
    assert spread(pow, [(2, 3), (2, 4), (2, 5)], 2, ended.append) == [8, 16, 32]
    assert sorted(ended) == [0, 1, 2] and spread(pow, [], 2, print) == []
    with pytest.raises(FileNotFoundError):
        spread(os.listdir, [("/no/such/folder",)], 1, print)


def test_an_error_ends_the_others_at_once():
    def enough(k):
        raise ValueError("enough")

    started = time.monotonic()
    with pytest.raises(ValueError, match="enough"):
        spread(time.sleep, [(0,), (600,), (600,)], 2, enough)
    assert time.monotonic() - started < 300
    assert not multiprocessing.active_children()


def test_a_fork_does_not_collect_what_lay_here(tmp_path):
    """As a closed simulator's GL context does: its end would wait for a thread that is in this process alone."""

    class Garbage:
        def __init__(self, name):
            self.name, self.me = name, self

        def __del__(self):
            (tmp_path / f"{self.name} in {os.getpid()}").touch()

    def collect():
        Garbage("its own")
        gc.collect()

    gc.collect()
    gc.disable()
    try:
        Garbage("old")
        process = fork(collect)
        assert not gc.isenabled()
    finally:
        gc.enable()
    process.join(60)
    assert process.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"its own in {process.pid}"]
    gc.collect()
    assert (tmp_path / f"old in {os.getpid()}").exists()
