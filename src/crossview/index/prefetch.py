"""Read ahead: an iterator run in a thread of its own, a few items in advance."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
_PATIENCE_S = 0.2  # how often a full queue looks whether anybody still wants its items


def read_ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """Yield ``items`` in order while a thread already makes the next ``depth`` of them.

    What the iterator raises is raised here. Closing the generator ends the thread.
    """
    worker = _Worker(items, depth)
    worker.start()
    try:
        while True:
            item = worker.made.get()
            if item is worker.end:
                break
            yield item  # type: ignore[misc]
    finally:
        worker.unwanted.set()
        worker.join()
    if worker.problem is not None:
        raise worker.problem


class _Worker(threading.Thread, Generic[Item]):
    def __init__(self, items: Iterable[Item], depth: int) -> None:
        super().__init__(daemon=True, name="crossview-read-ahead")
        self.items = items
        self.made: queue.Queue[object] = queue.Queue(depth)
        self.unwanted = threading.Event()
        self.problem: BaseException | None = None
        self.end = object()

    def run(self) -> None:
        try:
            for item in self.items:
                if not self._put(item):
                    return
        except BaseException as problem:  # handed over to the thread that waits for items
            self.problem = problem
        self._put(self.end)

    def _put(self, item: object) -> bool:
        while not self.unwanted.is_set():
            try:
                self.made.put(item, timeout=_PATIENCE_S)
                return True
            except queue.Full:
                continue
        return False
