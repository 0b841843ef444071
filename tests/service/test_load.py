"""Many at a time: hostile photos, keys with rates, cancelled batches, two servers of one index."""

import json
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.hostile import list_processes
from tests.index.regions import indexed
from tests.service.conftest import jpeg, photos
from tests.service.running import post, running
from tests.service.test_locate_routes import Stuck
from tests.views.hard_photos import scan_bomb

from crossview.service.access import create_key
from crossview.service.client import Client
from crossview.service.regions import Regions

SIGNALS = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals as Unix has them")
HARD = scan_bomb(6144, 8136, 18)  # 50 million pixels in 20 passes, which the limits allow


def together(work, arguments):
    """What ``work`` gives for each of the arguments, all at a time."""
    results = [None] * len(arguments)

    def do(number):
        results[number] = work(arguments[number])

    threads = [threading.Thread(target=do, args=(n,)) for n in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_photo_that_takes_too_long_is_refused_and_the_others_are_not(served):
    client = served(decode_s=0.6)
    contents = [HARD, jpeg(1), HARD, jpeg(2), jpeg(3), HARD]
    answers = together(lambda c: client.post("/v1/locate", files=photos(c)), contents)
    assert [answer.status_code for answer in answers] == [422, 200, 422, 200, 200, 422]
    assert answers[0].json()["code"] == "bad-image"
    assert "takes longer than 0.6 s to decode" in answers[0].json()["detail"]
    assert client.post("/v1/locate", files=photos(HARD, jpeg(1))).json()["problems"]
    assert client.get("/v1/ready").status_code == 200


def test_a_server_whose_photos_do_not_move_is_not_ready_until_they_do(served, folder):
    stuck = Stuck()
    client = served(regions=Regions([folder], lambda _: stuck), stuck_s=0.3, batch=1)
    asked = threading.Thread(target=lambda: client.post("/v1/locate", files=photos(jpeg())))
    asked.start()
    assert stuck.began.wait(60)
    answers = [client.get("/v1/ready")]
    while answers[-1].status_code == 200 and len(answers) < 200:
        time.sleep(0.1)
        answers.append(client.get("/v1/ready"))
    assert (answers[-1].status_code, answers[-1].json()) == (503, {"status": "stuck"})
    assert client.get("/v1/health").status_code == 200
    stuck.go.set()
    asked.join()
    answers = [client.get("/v1/ready")]
    while answers[-1].status_code == 503 and len(answers) < 200:  # the queue is told later
        time.sleep(0.1)
        answers.append(client.get("/v1/ready"))
    assert answers[-1].json() == {"status": "ready"}


@SIGNALS
@pytest.mark.parametrize("by", ["a decoder", "the network"])
def test_sigterm_ends_the_server_in_its_grace_period_whatever_a_photo_does(folder, by):
    slow_s = 0.0 if by == "a decoder" else 60.0
    options = ("--grace", "3", "--decode-timeout", "60")
    with running(folder, *options, slow_s=slow_s) as (process, address):
        content = HARD if by == "a decoder" else jpeg()
        asked = threading.Thread(
            target=lambda: statuses.extend(together(lambda c: post(address, c), [content] * 3))
        )
        statuses = []
        asked.start()
        time.sleep(1.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert time.monotonic() - begun < 3.0 + 5.0 + 5.0  # grace, the end, a busy machine
        asked.join()
    assert set(statuses) <= {200, 422, 503}, "each is answered"


@pytest.mark.skipif(sys.platform != "linux", reason="processes below another are read from /proc")
def test_nothing_is_left_of_a_server_that_is_killed(folder):
    """Also not the process that decodes a hard photo: it is to end by its own alarm."""
    with running(folder, "--decode-timeout", "1") as (process, address):
        assert post(address, jpeg()) == 200
        asked = threading.Thread(target=post, args=(address, HARD), daemon=True)
        asked.start()
        time.sleep(0.5)
        below = list_processes(process.pid)[1:]
        assert len(below) >= 3
        process.kill()
        process.wait(60)
    end = time.monotonic() + 60
    while any(is_running(number) for number in below) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(is_running(number) for number in below)


def is_running(process):
    """Whether a process is there and not merely waiting to be counted out."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def ask_with_key(address, key, content):
    """Status of one request with a key."""
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{address}/v1/locate?places=1", content, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as problem:
        return problem.code


@SIGNALS
def test_the_rate_of_one_key_holds_under_load_and_leaves_the_other_alone(folder, tmp_path):
    keys = tmp_path / "keys.json"
    eager, modest = create_key(keys, "eager"), create_key(keys, "modest")
    begun = time.monotonic()
    with running(folder, "--keys", str(keys), "--rate", "12") as (_, address):
        asked = [eager] * 60 + [modest] * 8 + ["wrong"] * 4
        content = jpeg()
        statuses = together(lambda key: ask_with_key(address, key, content), asked)
        minutes = (time.monotonic() - begun) / 60
    by_key = {key: Counter() for key in asked}
    for key, status in zip(asked, statuses, strict=True):
        by_key[key][status] += 1
    assert by_key["wrong"] == {401: 4}
    assert by_key[modest] == {200: 8}
    assert set(by_key[eager]) == {200, 429}
    assert 12 <= by_key[eager][200] <= 12 + 12 * minutes


def start_batch(address, count):
    """The number of a new batch of so many photos."""
    head = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    body = b"".join(head + jpeg(n) + b"\r\n" for n in range(count)) + b"--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{address}/v1/jobs?places=1", body, kind)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["job"]


@SIGNALS
def test_batches_are_followed_and_cancelled_while_others_are_asked_for(folder):
    def follow(batch):
        """Kinds of its events; every other batch is cancelled after its first answer."""
        number, is_cancelled = batch
        job = jobs[number]
        kinds = Counter()
        with urllib.request.urlopen(f"{address}/v1/jobs/{job}/events", timeout=120) as events:
            for line in events:
                name, _, text = line.decode().strip().partition(": ")
                if name == "event":
                    kinds[text] += 1
                    if is_cancelled and kinds["answer"] == 1:
                        url = f"{address}/v1/jobs/{job}"
                        cancel = urllib.request.Request(url, method="DELETE")
                        urllib.request.urlopen(cancel, timeout=120).close()
                elif kinds["end"]:
                    return kinds, json.loads(text)
        return kinds, None

    with running(folder, slow_s=0.1) as (_, address):
        jobs = together(lambda count: start_batch(address, count), [25] * 6)
        batches = [(number, number % 2 == 1) for number in range(6)]
        asked = threading.Thread(
            target=lambda: single.extend(post(address, jpeg(n)) for n in range(5))
        )
        single = []
        asked.start()
        followed = together(follow, batches)
        asked.join()
    assert single == [200] * 5
    for (_, is_cancelled), (kinds, end) in zip(batches, followed, strict=True):
        assert end["state"] == ("cancelled" if is_cancelled else "done")
        assert kinds["answer"] == end["done"]
        assert kinds["problem"] == 0
        assert (kinds["answer"] == 25) != is_cancelled


@SIGNALS
def test_two_servers_answer_from_one_index_and_both_exchange_it(tmp_path):
    indexed(tmp_path, stride_m=40.0)
    (tmp_path / "finer").mkdir()
    finer = indexed(tmp_path / "finer", stride_m=25.0, paths=[tmp_path / "aerial.tif"])
    place = tmp_path / "region.cvx"
    statuses, stop = [], threading.Event()

    def ask_on(address):
        while not stop.is_set():
            statuses.append(post(address, jpeg()))

    with running(place) as (_, one), running(place) as (_, other):
        threads = [threading.Thread(target=ask_on, args=(a,)) for a in (one, other) * 2]
        for thread in threads:
            thread.start()
        place.rename(tmp_path / "old.cvx")
        finer.path.rename(place)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            counts = [Client(address).regions()[0]["tiles"] for address in (one, other)]
            if counts == [finer.count] * 2:
                break
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
    assert counts == [finer.count] * 2
    assert set(statuses) == {200}
