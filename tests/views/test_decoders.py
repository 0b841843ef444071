"""Photos are looked at in processes that can be stopped; only the photo at fault is refused."""

import os
import pickle
import signal
import sys
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
from tests.views.hard_photos import act, empty_webp, measure, scan_bomb

from crossview.errors import BadImage, InvalidValue
from crossview.views.decode import load_photo
from crossview.views.decoders import Decoders, DecodingBudget, Turns

MB = 1_000_000
BUDGET = DecodingBudget(memory_bytes=100 * MB, file_bytes=MB, deadline_s=1.0)
MEASURED = pytest.mark.skipif(
    sys.platform != "linux", reason="memory and processor time of a process are limited on Linux"
)


@pytest.fixture
def start():
    """Makes decoders that end with the test."""
    started = []

    def make(work=act, budget=BUDGET, **places):
        started.append(Decoders(work, budget, **places))
        return started[-1]

    yield make
    for decoders in started:
        decoders.close()


def ask(decoders, *arguments, **options):
    return decoders.submit(*arguments, name="photo.jpg", **options)


def test_results_and_errors_are_those_of_the_work(start):
    decoders = start()
    assert (ask(decoders, "array", 8).result(60) == np.arange(8).reshape(4, 2)).all()
    assert ask(decoders, "none").result(60) is None
    with pytest.raises(BadImage, match=r"^refused\.$"):
        ask(decoders, "refuse").result(60)
    with pytest.raises(InvalidValue, match="does not fit"):
        ask(decoders, "hint").result(60)
    with pytest.raises(ZeroDivisionError) as fault:
        ask(decoders, "fault").result(60)
    assert "raise ZeroDivisionError" in "".join(fault.value.__notes__), "for the log"


def test_bytes_arrive_as_bytes_without_a_copy_in_between(start):
    decoders = start(work=measure)
    assert ask(decoders, pickle.PickleBuffer(b"x" * 3 * MB)).result(60) == ("bytes", 3 * MB)


@pytest.mark.parametrize(
    ("what", "amount", "why"),
    [
        pytest.param("compute", 60.0, "takes longer than 1 s to decode", marks=MEASURED),
        ("sleep", 60.0, "takes longer than 1 s to decode"),
        pytest.param("fill", 900 * MB, "needs more than the 201 MB of memory", marks=MEASURED),
        ("crash", 0.0, "broke the program that decodes it"),
    ],
)
def test_a_photo_that_runs_over_is_refused_and_its_process_replaced(start, what, amount, why):
    decoders = start(workers=1)
    first = ask(decoders, "id").result(60)
    assert ask(decoders, "id").result(60) == first, "a process is kept"
    begun = time.monotonic()
    with pytest.raises(BadImage, match=rf"^photo\.jpg: {why}|^{why}"):
        ask(decoders, what, amount).result(60)
    assert time.monotonic() - begun < 30.0
    kept = ask(decoders, "id").result(60) == first
    assert kept == (what == "fill"), "memory is given back, time is not"


def test_a_crash_is_named(start):
    with pytest.raises(BadImage, match="signal SIGSEGV"):
        ask(start(workers=1), "crash").result(60)


@MEASURED
def test_what_a_photo_may_take_can_be_taken(start):
    assert BUDGET.most_bytes == 201 * MB
    assert ask(start(), "fill", 180 * MB).result(60).shape == (1,)


@MEASURED
def test_photos_that_are_hard_to_decode_hold_up_no_other(start):
    """One goes on beside the others, at a lower priority; others of its kind wait for it."""
    budget = DecodingBudget(memory_bytes=MB, file_bytes=MB, deadline_s=30.0)
    decoders = start(budget=budget, workers=1, slow=1)
    usual = ask(decoders, "priority").result(60)
    hard = [ask(decoders, "compute", 4.0, owner=n) for n in range(2)]
    easy = [ask(decoders, "id", owner=9) for _ in range(20)]
    done, waiting = wait([*easy, *hard], timeout=60, return_when="FIRST_COMPLETED")
    assert not any(one.done() for one in hard)
    assert wait(easy, timeout=60).not_done == set()
    assert decoders.slow >= 1
    assert all(one.result(60) for one in hard), "they are done all the same"
    assert ask(decoders, "priority").result(60) == usual, "and their processes replaced"
    assert decoders.slow == 0
    assert done.isdisjoint(waiting)


def test_a_photo_that_is_not_wanted_any_more_is_stopped(start):
    decoders = start(budget=DecodingBudget(memory_bytes=MB, file_bytes=MB), workers=1)
    unwanted = [ask(decoders, "sleep", 50.0) for _ in range(5)]
    time.sleep(0.3)
    assert all(one.cancel() for one in unwanted)
    begun = time.monotonic()
    assert ask(decoders, "id").result(60)
    assert time.monotonic() - begun < 15.0


def test_closing_ends_what_is_under_way(start):
    decoders = start(budget=DecodingBudget(memory_bytes=MB, file_bytes=MB))
    last = [ask(decoders, "sleep", 50.0) for _ in range(4)]
    time.sleep(0.3)
    begun = time.monotonic()
    decoders.close()
    assert time.monotonic() - begun < 15.0
    for one in last:
        with pytest.raises(CancelledError):
            one.result(5)


def test_signals_to_the_whole_group_leave_the_processes_to_their_keeper(start):
    decoders = start(workers=1)
    number = ask(decoders, "id").result(60)
    for sent in (signal.SIGINT, signal.SIGTERM):
        os.kill(number, sent)
    assert ask(decoders, "id").result(60) == number


def test_owners_take_turns():
    turns = Turns()
    for owner, thing in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)):
        turns.add(owner, thing)
    assert len(turns) == 6
    assert [turns.take() for _ in range(6)] == [1, 4, 5, 2, 6, 3]
    assert len(turns) == 0


def test_a_deadline_is_a_time():
    with pytest.raises(InvalidValue, match="longer than 0 s"):
        DecodingBudget(memory_bytes=MB, file_bytes=MB, deadline_s=0.0)


@MEASURED
def test_a_jpeg_of_many_scans_that_the_limits_allow_is_stopped_too(start):
    """Twenty scans are allowed at any size; here they take longer than the deadline."""
    budget = DecodingBudget(memory_bytes=800 * MB, file_bytes=MB, deadline_s=0.3)
    decoders = start(work=load_photo, budget=budget)
    bomb = scan_bomb(6144, 8136, 18)
    assert len(bomb) < 200_000
    with pytest.raises(BadImage, match="takes longer than"):
        ask(decoders, bomb).result(60)
    with pytest.raises(BadImage, match="passes to decode"):
        load_photo(scan_bomb(512, 512, 4000))
    with pytest.raises(BadImage, match="MB to decode"):
        load_photo(empty_webp(10_000, 5_000), max_memory_bytes=800 * MB)
    assert load_photo(scan_bomb(264, 264, 3)).pixels.shape == (264, 264, 3)
