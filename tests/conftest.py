"""What every test needs: one thread a process and memory settings as the command line has them, so that numbers are the same here.

`make test` gives whole files to two workers, in the order of collection. The long ones come first, so that both end at about the same time.
"""

import os

import pytest

from dtr.cli import settle_process

settle_process()
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes import the same modules: the first one keeps what it compiles


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # a worker listens to pytest in a thread of its own, which no fork needs
        config.addinivalue_line("filterwarnings", r"ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
