"""The server as a process: its client, curl, and its end, gentle or not."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.index.regions import TOY, indexed
from tests.service.conftest import jpeg
from tests.service.running import post, running

from crossview.errors import InvalidValue
from crossview.index.store import Index
from crossview.service.client import Client, ServiceRefused

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "service.md"


@pytest.fixture(scope="module")
def address(folder):
    with running(folder, "--max-files", "5") as (_, where):
        yield where


@pytest.fixture
def album(tmp_path):
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(jpeg(len(name)))
    return tmp_path


def test_the_client_locates_in_three_lines(address, album):
    client = Client(address)
    place = client.locate(album / "photo.jpg", places=3)["places"][0]
    assert place["rank"] == 1
    assert client.regions()[0]["name"] == "region"


def test_the_client_follows_a_long_batch(address, album):
    (album / "bad.jpg").write_bytes(b"bad")
    found = list(Client(address).locate_many([album / n for n in ("a.jpg", "bad.jpg", "b.jpg")]))
    assert {f["photo"] for f in found if "places" in f} == {"a.jpg", "b.jpg"}
    assert [f["photo"] for f in found if "detail" in f] == ["bad.jpg"]


def test_the_client_raises_what_the_server_refuses(address, album):
    with pytest.raises(ServiceRefused, match="degree|360") as refused:
        Client(address).locate(album / "a.jpg", fov=1000)
    assert refused.value.status == 422
    with pytest.raises(ServiceRefused, match="127"):
        Client("http://127.0.0.1:1").regions()
    with pytest.raises(InvalidValue):
        Client("file:///etc/passwd")


def test_the_manual_s_python_example_works(address, album, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.S)[1]
    monkeypatch.chdir(album)
    exec(example.replace("http://127.0.0.1:8765", address), {})
    assert "'rank': 1" in capsys.readouterr().out


def curl_examples():
    block = re.search(r"```sh\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.S)
    return block[1].strip().splitlines()


@pytest.mark.skipif(
    not shutil.which("curl") or os.name == "nt", reason="no curl, or a shell that quotes otherwise"
)
@pytest.mark.parametrize("line", curl_examples())
def test_the_manual_s_curl_examples_work(address, album, line):
    command = line.replace("http://127.0.0.1:8765", address).replace("curl ", "curl -sSf ", 1)
    done = subprocess.run(
        command, shell=True, cwd=album, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = album / "places.geojson"
    assert json.loads(written.read_text() if written.exists() else done.stdout)


def test_a_large_upload_with_a_wrong_hint_still_hears_why(address):
    assert post(address, bytes(30_000_000), "?fov=0") == 422
    assert post(address, bytes(30_000_000), "?region=none") == 404


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
def test_told_to_stop_under_load_no_request_is_lost(folder):
    with running(folder, slow_s=0.1) as (process, address):
        ended = under_load(address)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        statuses = {status for _, status in ended()}
    assert statuses == {200, "refused"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals as Unix has them")
def test_a_long_batch_is_finished_before_the_end(folder, album):
    with running(folder, "--max-files", "30", slow_s=0.05) as (process, address):
        found = Client(address).locate_many([album / "a.jpg"] * 30)
        next(found)
        process.send_signal(signal.SIGTERM)
        assert len(list(found)) == 29
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
def test_hangup_exchanges_an_index_without_losing_a_request(tmp_path):
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
