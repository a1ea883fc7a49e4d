"""A policy server in a thread of the test's own process."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tiny_policy import tiny

from dtr.policies.file import LoadedPolicy
from dtr.serving.server import PolicyServer
from dtr.wire.address import Address, listening

TEXTS = ["put the milk in the crate", "put the green block on the plate", "lift it"]
ROWS = 3


@contextmanager
def served(
    rows: int = ROWS, patience_s: float = 0.05, image_path: str = "exact", robot: str = "libero"
) -> Iterator[tuple[str, PolicyServer]]:
    """A server of the tiny policy, in a thread of this process."""
    policy, processor = tiny(TEXTS)
    processor = dataclasses.replace(processor, image_path=image_path, robot=robot)
    server = PolicyServer(LoadedPolicy(policy, processor, {}), "5" * 64, rows, patience_s)
    with listening(Address()) as (listener, found):
        thread = threading.Thread(target=server.run, args=(listener,))
        thread.start()
        try:
            yield str(found), server
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()
