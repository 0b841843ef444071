"""Limits are kept before anything is decoded, and each refusal says what to do."""

import asyncio
import re
import threading
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest
from tests.index.regions import TOY
from tests.service.conftest import jpeg, photos

from crossview.errors import InvalidValue
from crossview.service.client import Client, ServiceRefused
from crossview.service.problems import Refusal
from crossview.service.regions import Regions
from crossview.service.settings import MEGABYTE, MEGAPIXEL, OnlineMap, Settings
from crossview.service.state import Service
from crossview.service.uploads import MemoryBudget, read_uploads
from crossview.views.decode import MAX_PIXELS

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"


def code_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_a_photo_may_not_be_too_large(served):
    client = served(max_file_bytes=1000)
    assert code_of(client.post("/v1/locate", files=photos(jpeg()))) == (413, "too-large")


def test_nor_a_request(served):
    client = served(max_file_bytes=20_000, max_request_bytes=20_000)
    assert code_of(client.post("/v1/locate", files=photos(*[jpeg()] * 9))) == (413, "too-large")


def test_ten_thousand_files_are_refused(client):
    files = [("photo", (f"{n}.jpg", b"")) for n in range(10_000)]
    assert code_of(client.post("/v1/locate", files=files)) == (413, "too-many-files")


def test_pixels_are_counted_before_they_are_decoded(served):
    client = served(max_pixels=1000)
    assert code_of(client.post("/v1/locate", files=photos(jpeg()))) == (422, "bad-image")


def test_memory_is_estimated_before_it_is_taken(served):
    client = served(max_memory_bytes=1000)
    assert code_of(client.post("/v1/locate", files=photos(jpeg()))) == (422, "bad-image")
    with pytest.raises(InvalidValue, match="--max-memory-mb"):
        Settings(max_memory_bytes=0)


def test_videos_are_told_from_photos_and_answered_with_what_to_do(client):
    film = b"\0\0\0\x14ftypisom\0\0\0\0mp42" + bytes(5000)
    answer = client.post("/v1/locate", files=[("photo", ("holiday.jpg", film))])
    assert code_of(answer) == (422, "bad-image")
    assert "ffmpeg" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", "application/json", (415, "wrong-type")),
        (b"x=1", "application/x-www-form-urlencoded", (415, "wrong-type")),
        (b"nonsense", "multipart/form-data; boundary=b", (400, "bad-form")),
        (b"", "multipart/form-data", (400, "bad-form")),
        (b"--b--\r\n", "multipart/form-data; boundary=b", (422, "no-photo")),
        (
            b'--b\r\nContent-Disposition: form-data; name="fov"\r\n\r\n90\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            (422, "unknown-field"),
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="photo"\r\n\r\ncut',
            "multipart/form-data; boundary=b",
            (400, "bad-form"),
        ),
        (
            b"--b\r\nX: " + b"y" * 20_000 + b"\r\n\r\n\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            (400, "bad-form"),
        ),
    ],
)
def test_a_body_that_is_no_form_of_photos_is_refused(client, body, kind, expected):
    found = client.post("/v1/locate", content=body, headers={"Content-Type": kind})
    assert code_of(found) == expected


def test_what_was_held_is_let_go_however_a_request_ends(client):
    memory = client.app.state.service.memory
    client.post("/v1/locate", files=photos(jpeg()))
    client.post("/v1/locate", files=photos(b"bad"))
    client.post("/v1/locate?region=none", files=photos(jpeg()))
    client.post("/v1/heat", files=photos(jpeg(), jpeg()))
    client.post("/v1/locate", content=b"--b\r\n", headers={"Content-Type": "multipart/form-data"})
    assert memory.used_bytes == 0


class Stuck:
    """A network that waits until it is told to go on."""

    def __init__(self):
        self.info, self.fingerprint, self.aerial = TOY.info, TOY.fingerprint, TOY.aerial
        self.go, self.began = threading.Event(), threading.Event()

    def ground(self, images):
        self.began.set()
        self.go.wait(20)
        return TOY.ground(images)


def ask(client, count, found):
    found.append(client.post("/v1/locate", files=photos(*[jpeg()] * count)).status_code)


def test_beyond_the_queue_there_are_429s_and_nothing_else(served, folder):
    stuck = Stuck()
    client = served(
        regions=Regions([folder], lambda _: stuck), max_files=4, queue_photos=4, batch=1
    )
    found = []
    threads = [threading.Thread(target=ask, args=(client, 2, found)) for _ in range(12)]
    for thread in threads:
        thread.start()
    stuck.began.wait(20)
    refused = client.post("/v1/locate", files=photos(*[jpeg()] * 4))
    stuck.go.set()
    for thread in threads:
        thread.join()
    assert code_of(refused) == (429, "busy")
    assert int(refused.headers["Retry-After"]) >= 1
    assert set(found) <= {200, 429}
    assert 200 in found


def test_what_takes_too_long_is_ended(served, folder):
    stuck = Stuck()
    client = served(regions=Regions([folder], lambda _: stuck), timeout_s=0.2)
    found = client.post("/v1/locate", files=photos(jpeg()))
    stuck.go.set()
    assert code_of(found) == (503, "too-long")
    assert client.get("/v1/health").status_code == 200


def test_an_upload_that_stops_arriving_is_ended():
    async def run():
        async def body():
            yield b"--b\r\n"
            await asyncio.sleep(5)

        memory = MemoryBudget(1000)
        with pytest.raises(Refusal) as refused:
            await read_uploads(
                {"content-type": "multipart/form-data; boundary=b"},
                body(),
                Settings(upload_idle_s=0.05),
                memory,
            )
        assert (refused.value.status, memory.used_bytes) == (408, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_files": 600}, {"batch": 0}, {"timeout_s": 0}, {"photos_per_minute": 0},
        {"max_file_bytes": 10**10},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(InvalidValue):
        Settings(**wrong)


@pytest.mark.parametrize("url", ["ftp://a/{z}/{x}/{y}", "https://a/{z}", "/tiles/{z}/{x}/{y}"])
def test_an_online_map_is_a_template_of_an_address(url):
    with pytest.raises(InvalidValue):
        OnlineMap(url=url, attribution="someone")


def test_an_online_map_is_allowed_by_the_policy_and_told_to_the_page(served):
    online = OnlineMap(url="https://tiles.example/{z}/{x}/{y}.png", attribution="Example")
    client = served(online_map=online)
    assert "https://tiles.example" in client.get("/").headers["content-security-policy"]
    assert client.get("/v1/regions").json()["online_map"]["attribution"] == "Example"


def test_the_limits_of_a_server_are_those_of_the_documents():
    settings = Settings()
    assert settings.max_pixels == MAX_PIXELS, "as the other commands take"
    rows = (DOCUMENTS / "commands.md").read_text(encoding="utf-8")
    for option, value in {
        "max-mb": settings.max_file_bytes / MEGABYTE,
        "max-megapixels": settings.max_pixels / MEGAPIXEL,
        "max-memory-mb": settings.max_memory_bytes / MEGABYTE,
        "max-files": settings.max_files,
        "queue": settings.queue_photos,
        "timeout": settings.timeout_s,
    }.items():
        assert re.search(rf"\| `--{option} [A-Z]+` \| {value:g} \|", rows), option
    service = (DOCUMENTS / "service.md").read_text(encoding="utf-8")
    assert f"| `places` | how many, 1 to {settings.max_places}; default 10 |" in service
    assert settings.keep_job_s == 600.0
    assert "kept for ten minutes after its end" in service


def test_a_client_asks_again_after_half_a_minute_at_most_and_gives_up_after_a_minute(monkeypatch):
    waits_s, slept_s, now_s = [10, 45, 30], [], [0.0]

    def busy(request, timeout):
        assert timeout == 120.0
        wait_s = waits_s.pop(0)
        body = BytesIO(b'{"code": "busy", "detail": "Too many photos are waiting."}')
        raise HTTPError(request.full_url, 429, "busy", {"Retry-After": str(wait_s)}, body)

    def sleep(seconds):
        slept_s.append(seconds)
        now_s[0] += seconds

    monkeypatch.setattr("urllib.request.urlopen", busy)
    monkeypatch.setattr("crossview.service.client.time.sleep", sleep)
    monkeypatch.setattr("crossview.service.client.time.monotonic", lambda: now_s[0])
    with pytest.raises(ServiceRefused, match="Too many photos"):
        Client("http://127.0.0.1:8765").regions()
    assert slept_s == [10.0, 30.0]  # the third wait would end after a minute
    assert waits_s == []


def test_a_server_looks_every_two_seconds_whether_an_index_has_changed(monkeypatch):
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
