"""A pool's helpers end when the process that started them is killed or interrupted, and a killed helper ends the run."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from dtr.errors import DtrError
from dtr.lifeline import fork, helpers

PROGRAM = """
import os, signal, sys, time
from dtr.lifeline import helpers
def play(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with helpers(1) as pool:
        [future.result() for future in [pool.submit(play, 600), pool.submit(play, 600)]]
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_helpers_end_with_a_killed_or_interrupted_parent(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        parent.send_signal(number)
    for _ in range(200):
        try:
            os.kill(helper, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(helper, signal.SIGKILL)
    raise AssertionError("the helper outlived its parent by 10 s")


def test_a_killed_helper_ends_the_run():
    with pytest.raises(DtrError, match="fewer --processes"), helpers(1) as pool:
        pool.submit(os._exit, 9).result()


def test_an_error_ends_the_pool_at_once_and_without_a_word_from_its_threads():
    """Here helpers come and go all the time while the pool is ended (pytest reports any thread that dies of an exception)."""
    for attempt in range(5):
        started = time.monotonic()
        with pytest.raises(ValueError, match="enough"), helpers(2) as pool:
            futures = [pool.submit(time.sleep, 0) for _ in range(500)]
            futures[attempt].result()
            raise ValueError("enough")
        assert time.monotonic() - started < 60


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
