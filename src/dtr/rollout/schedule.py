"""Which episode a free worker plays next. Order changes the time that a run takes, never a record."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from dtr.rollout.worker import Order


class Schedule:
    """Hands out orders so that workers change tasks seldom: a new task is a new simulator, which costs about one episode."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.queues: dict[str, deque[Order]] = {}
        self.staff: Counter[str] = Counter()
        for order in orders:
            self.queues.setdefault(order.task.name, deque()).append(order)

    def next(self, task: str | None) -> Order | None:
        """The next order for a worker that holds a simulator of `task` (None: of nothing yet). None when there is no work left.

        First its own task; else the task with the most episodes left for each worker that it would then have.
        """
        if task is not None:
            if self.queues[task]:
                return self.queues[task].popleft()
            self.staff[task] -= 1
        name = max(self.queues, key=lambda name: len(self.queues[name]) / (1 + self.staff[name]), default=None)
        if name is None or not self.queues[name]:
            return None
        self.staff[name] += 1
        return self.queues[name].popleft()
