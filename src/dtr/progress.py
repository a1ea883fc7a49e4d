"""Progress of long work: a bar with the time left when a person watches, a log line now and then otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_S = 15.0


class Progress:
    """Counts `total` units of work. `with Progress("recover", 500, "step") as p: p.update(1, loss=0.1)`.

    On a terminal it is a tqdm bar; elsewhere one line to stderr at most every EVERY_S seconds, with rate and time left. Not `shown`, it
    counts in silence: of several processes that do the same, one speaks.
    """

    def __init__(self, name: str, total: int, unit: str, done: int = 0, shown: bool = True) -> None:
        self.name, self.total, self.unit, self.shown = name, total, unit, shown
        self.done = self.first = done
        self.started = self.said = time.monotonic()
        self.bar = tqdm(total=total, initial=done, unit=unit, desc=name, leave=True) if shown and sys.stderr.isatty() else None

    def update(self, n: int = 1, **facts: float) -> None:
        """Add `n` finished units; `facts` are shown beside them."""
        self.done += n
        if self.bar is not None:
            self.bar.set_postfix({k: f"{v:.4g}" for k, v in facts.items()}, refresh=False)
            self.bar.update(n)
        elif self.shown and (time.monotonic() - self.said > EVERY_S or self.done >= self.total):
            self.say(**facts)

    def say(self, **facts: float) -> None:
        """Print one log line."""
        self.said = time.monotonic()
        rate = (self.done - self.first) / max(self.said - self.started, 1e-9)
        left_s = (self.total - self.done) / rate if rate else float("inf")
        extra = "".join(f" {k}={v:.4g}" for k, v in facts.items())
        print(f"{self.name}: {self.done}/{self.total} {self.unit} {rate:.2f}/s left {left_s:.0f} s{extra}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()
