"""Ctrl-C and SIGTERM as a wish, granted between two steps."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """`with Interruption() as interruption:` the first signal sets `.asked`; a second one acts at once, as usual."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[signal.Signals, Any] = {}

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.asked = True
        print("stopping after this step, to save the state (once more to stop at once)", file=sys.stderr, flush=True)
        self.restore()

    def restore(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python delivers no signals
            self.before = {number: signal.signal(number, self.ask) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.restore()
