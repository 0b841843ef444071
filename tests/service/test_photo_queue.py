"""The queue: turns, cancelling, finishing; nobody gets another's answer."""

import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait

import pytest
from tests.index.regions import TOY
from tests.service.conftest import jpeg

from crossview.localization.hints import Hints
from crossview.localization.locate import locate
from crossview.service.counters import Counters
from crossview.service.photo_queue import PhotoQueue, PhotoTask
from crossview.service.problems import Refusal
from crossview.service.regions import Regions
from crossview.service.settings import Settings
from crossview.service.uploads import Upload
from crossview.views.decode import load_photo


class Slow:
    """A network that lets one batch through at a time, and remembers them."""

    def __init__(self):
        self.info, self.fingerprint, self.aerial = TOY.info, TOY.fingerprint, TOY.aerial
        self.gate, self.batches = threading.Semaphore(0), []
        self.hurried = False

    def ground(self, images):
        if not self.hurried:
            self.gate.acquire()
        self.batches.append(len(images))
        return TOY.ground(images)

    def hurry(self):
        self.hurried = True
        self.gate.release()


@pytest.fixture
def slow():
    """Whatever a test found, what still waits is let through before its queue closes."""
    network = Slow()
    yield network
    network.hurry()


@pytest.fixture
def start_queue():
    queues = []

    def make(**settings):
        queues.append(PhotoQueue(Settings(**settings), Counters()))
        return queues[-1]

    yield make
    for one in queues:
        one.close()


def tasks(region, seeds, hints=Hints(), write=lambda photo: photo.answer):  # noqa: B008 - frozen
    return [
        PhotoTask(
            upload=Upload(f"{s}.jpg", jpeg(s)), hints=hints, region=region, format_result=write
        )
        for s in seeds
    ]


def test_every_photo_gets_its_own_answer_however_they_are_batched(start_queue, regions):
    region = regions.get(None)
    seeds = range(40)
    queue = start_queue(batch=7)
    orders = [queue.submit(tasks(region, [s, s + 100])) for s in seeds]
    for seed, order in zip(seeds, orders, strict=True):
        for number, result in zip((seed, seed + 100), order, strict=True):
            photo = load_photo(jpeg(number), name=f"{number}.jpg")
            expected = locate(region.index, photo, embedder=TOY)
            answer = result.result(30)
            assert answer.sha256 == expected.sha256
            assert answer.places[0].window == expected.places[0].window


def test_a_small_request_is_not_starved_by_a_large_one(start_queue, slow, folder):
    region = Regions([folder], lambda _: slow).get(None)
    queue = start_queue(batch=4, batch_s=100)
    large = queue.submit(tasks(region, range(40)))
    slow.gate.release()
    first, _ = wait(large, 10, FIRST_COMPLETED)  # any: processes that decode overtake each other
    assert first
    small = queue.submit(tasks(region, [99]))
    for _ in range(4):  # what was taken before, and the small one's own
        slow.gate.release()
    small[0].result(10)
    assert sum(result.done() for result in large) < 5 * 4  # of five batches, one held the small one


def test_what_is_cancelled_in_time_never_reaches_the_network(start_queue, slow, folder):
    region = Regions([folder], lambda _: slow).get(None)
    queue = start_queue(batch=1)
    results = queue.submit(tasks(region, range(20)))
    for result in results:
        result.cancel()
    for _ in range(20):
        slow.gate.release()
    queue.close()
    assert sum(slow.batches) <= 4
    assert queue.waiting == 0
    with pytest.raises(CancelledError):
        results[-1].result(1)


def test_closing_finishes_what_is_there_and_takes_nothing_new(start_queue, regions):
    queue = start_queue(batch=2)
    results = queue.submit(tasks(regions.get(None), range(10)))
    queue.close()
    assert all(isinstance(r, Future) and r.result(0).places for r in results)
    with pytest.raises(Refusal) as refused:
        queue.submit(tasks(regions.get(None), [0]))
    assert refused.value.status == 503


def test_a_photo_that_fails_fails_alone(start_queue, regions):
    region = regions.get(None)
    far = Hints(near=region.index.footprint(0).centre, within_m=0.001)
    elsewhere = tasks(region, [1], Hints(near=type(far.near)(80.0, 10.0), within_m=5.0))
    queue = start_queue(batch=8, wait_s=0.2)
    good, bad = queue.submit(tasks(region, [0])), queue.submit(elsewhere)
    assert good[0].result(10).places
    with pytest.raises(Exception, match="no window"):
        bad[0].result(10)


def test_the_bound_holds_for_all_requests_together(start_queue, slow, folder):
    region = Regions([folder], lambda _: slow).get(None)
    queue = start_queue(batch=1, queue_photos=10, max_files=10)
    queue.submit(tasks(region, range(6)))
    with pytest.raises(Refusal) as refused:
        queue.submit(tasks(region, range(9)))
    assert refused.value.status == 429


def test_seven_tenths_of_the_estimate_of_speed_outlive_a_batch(start_queue, regions, monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 5.0])  # a batch of a second, then one of four
    monkeypatch.setattr("crossview.service.photo_queue.time.perf_counter", lambda: next(clock))
    queue = start_queue(batch=1, queue_photos=10_000)
    for seed in (0, 1):
        queue.submit(tasks(regions.get(None), [seed]))[0].result(30)
    queue.close()
    monkeypatch.undo()
    after_one = 0.7 * 0.05 + 0.3 * 1.0  # it begins with 0.05 s for a photo
    monkeypatch.setattr(PhotoQueue, "waiting", 100)
    assert queue.retry_after_s() == pytest.approx(100 * (0.7 * after_one + 0.3 * 4.0))
