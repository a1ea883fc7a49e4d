"""A pool's helpers end when the process that started them is killed."""

import os
import signal
import subprocess
import sys
import time

PROGRAM = """
import multiprocessing, os, time
from dtr.lifeline import end_with_parent
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1, end_with_parent) as pool:
        print(pool.apply(os.getpid), flush=True)
        pool.apply(time.sleep, (600,))
"""


def test_helpers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(200):
        try:
            os.kill(helper, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(helper, signal.SIGKILL)
    raise AssertionError("the helper outlived its parent by 10 s")
