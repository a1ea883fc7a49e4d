"""Which episode a free worker plays next. Order changes the time that a run takes, never a record."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from dtr.rollout.worker import Order

Scene = tuple[str, str, str]
"""`Task.scene`."""


class Schedule:
    """Hands out orders so that workers change scenes seldom: a new scene is a new simulator, which costs about one episode."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.queues: dict[Scene, deque[Order]] = {}
        self.staff: Counter[Scene] = Counter()
        for order in orders:
            self.queues.setdefault(order.task.scene, deque()).append(order)

    def next(self, scene: Scene | None) -> Order | None:
        """The next order for a worker that holds a simulator of `scene` (None: of nothing yet). None when there is no work left.

        First its own scene; else the scene with the most episodes left for each worker that it would then have.
        """
        if scene is not None:
            if self.queues[scene]:
                return self.queues[scene].popleft()
            self.staff[scene] -= 1
        other = max(self.queues, key=lambda scene: len(self.queues[scene]) / (1 + self.staff[scene]), default=None)
        if other is None or not self.queues[other]:
            return None
        self.staff[other] += 1
        return self.queues[other].popleft()
