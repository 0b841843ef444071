"""The server as a process: how it ends and reloads under load."""

import asyncio
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from tests.index.regions import TOY, indexed
from tests.service.conftest import jpeg
from tests.service.running import post, running

from crossview.index.store import Index
from crossview.service.client import Client
from crossview.service.state import Service


def asking(address, outcomes, stop):
    while not stop.is_set():
        outcomes.append((time.monotonic(), post(address, jpeg())))


def under_load(address, clients=6):
    """Threads that ask until told to stop, and what they got."""
    outcomes, stop = [], threading.Event()
    threads = [
        threading.Thread(target=asking, args=(address, outcomes, stop), daemon=True)
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()

    def ended():
        stop.set()
        for thread in threads:
            thread.join()
        return outcomes

    return ended


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals as Unix has them")
def test_at_sigterm_under_load_no_request_is_lost(folder):
    with running(folder, slow_s=0.1) as (process, address):
        ended = under_load(address)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        statuses = {status for _, status in ended()}
    assert statuses == {200, "refused"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals as Unix has them")
def test_a_long_batch_is_finished_before_the_end(folder, photo_folder):
    with running(folder, "--max-files", "30", slow_s=0.05) as (process, address):
        response = Client(address).locate_many([photo_folder / "a.jpg"] * 30)
        next(response)
        process.send_signal(signal.SIGTERM)
        assert len(list(response)) == 29
        assert process.wait(120) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals as Unix has them")
def test_killed_under_load_it_starts_again_with_the_index_intact(tmp_path):
    indexed(tmp_path, stride_m=40.0)
    place = tmp_path / "region.cvx"
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with running(place, slow_s=0.05) as (process, address):
        ended = under_load(address)
        time.sleep(0.5)
        process.kill()
        process.wait(60)
        ended()
    assert Index.open(place).verify() > 0
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    with running(place) as (_, address):
        assert post(address, jpeg()) == 200


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no signals as Unix has them")
def test_sighup_exchanges_an_index_without_losing_a_request(tmp_path):
    indexed(tmp_path, stride_m=40.0)
    (tmp_path / "finer").mkdir()
    finer = indexed(tmp_path / "finer", stride_m=25.0, paths=[tmp_path / "aerial.tif"])
    place = tmp_path / "region.cvx"
    with running(place) as (process, address):
        assert Client(address).regions()[0]["tiles"] != finer.count  # it runs
        ended = under_load(address, clients=3)
        place.rename(tmp_path / "old.cvx")
        finer.path.rename(place)
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 90
        while Client(address).regions()[0]["tiles"] != finer.count and time.monotonic() < end:
            time.sleep(0.1)
        assert Client(address).regions()[0]["tiles"] == finer.count
        assert {status for _, status in ended()} == {200}
    assert TOY.fingerprint == finer.manifest.model.fingerprint


def test_a_server_checks_every_two_seconds_whether_an_index_has_changed(monkeypatch):
    slept_s, looked = [], []

    async def sleep(seconds):
        slept_s.append(seconds)
        if len(slept_s) > 3:
            raise asyncio.CancelledError

    async def look():
        looked.append(len(slept_s))

    monkeypatch.setattr("crossview.service.state.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Service.watch(SimpleNamespace(reload=look)))
    assert slept_s == [2.0] * 4
    assert looked == [1, 2, 3]
