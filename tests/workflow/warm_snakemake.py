"""Snakemake in a second less: a process has imported it once, and every command is a fork of that process.

Nothing of ours is imported before the fork, so the Snakefile of a checkout loads that checkout's own `dtr`. As a program: it reads one
order a line and answers with the exit code of the command.
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile


def run(folder, environment, *arguments):
    """Exit code and output of `snakemake` with these arguments in a folder."""
    with tempfile.NamedTemporaryFile("r") as said:
        order = {"folder": str(folder), "environment": environment, "arguments": arguments, "said": said.name}
        server = start()
        try:
            server.stdin.write(f"{json.dumps(order)}\n")
            server.stdin.flush()
            return int(server.stdout.readline()), said.read()
        except BaseException:  # Ctrl-C, or a test's time is up: nobody would read the answer
            start.cache_clear()
            os.killpg(server.pid, signal.SIGKILL)
            raise


@functools.cache
def start():
    """The process; it ends when this one does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([sys.executable, __file__], start_new_session=True, **pipes)
    atexit.register(server.communicate)
    return server


def serve():
    """Carry out one order after the other."""
    import jsonschema  # noqa: F401 - the Snakefile's
    import numpy  # noqa: F401 - the Snakefile's
    import snakemake.cli

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(order["folder"])
            os.environ.clear()
            os.environ.update(order["environment"])
            sys.path[0] = order["environment"]["PYTHONPATH"]
            said = os.open(order["said"], os.O_WRONLY)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(said, 1), os.dup2(said, 2)
            sys.argv = ["snakemake", *order["arguments"]]
            sys.exit(snakemake.cli.main())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
