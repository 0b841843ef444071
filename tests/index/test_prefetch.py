"""Reading ahead: the same items, a thread earlier."""

import threading
import time

import pytest

from crossview.index.prefetch import read_ahead


def test_items_come_in_order():
    assert list(read_ahead(iter(range(100)))) == list(range(100))


def test_items_are_made_in_another_thread_before_they_are_asked_for():
    made = threading.Semaphore(0)

    def items():
        for _ in range(3):
            made.release()
            yield threading.current_thread()

    ahead = read_ahead(items(), depth=2)
    assert next(ahead) is not threading.current_thread()
    assert all(made.acquire(timeout=5.0) for _ in range(3))
    ahead.close()


def test_an_error_arrives_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("torn")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="torn"):
        next(ahead)


def test_closing_ends_the_thread():
    before = threading.active_count()
    ahead = read_ahead(iter(lambda: time.sleep(0.001), "never"))
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
