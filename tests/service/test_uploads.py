"""Limits of uploads hold before anything is decoded, and each refusal says what to do."""

from __future__ import annotations

import asyncio

import pytest
from tests.service.conftest import jpeg, photos

from crossview.errors import InvalidValue
from crossview.service.problems import Refusal
from crossview.service.settings import Settings
from crossview.service.uploads import MemoryBudget, read_uploads


def code_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_a_photo_may_not_be_too_large(served):
    client = served(max_file_bytes=1000)
    assert code_of(client.post("/v1/locate", files=photos(jpeg()))) == (413, "too-large")


def test_a_request_may_not_be_too_large(served):
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


def test_videos_are_recognized_and_answered_with_what_to_do(client):
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
def test_a_body_that_is_not_a_form_of_photos_is_refused(client, body, kind, expected):
    response = client.post("/v1/locate", content=body, headers={"Content-Type": kind})
    assert code_of(response) == expected


def test_memory_is_released_however_a_request_ends(client):
    memory = client.app.state.service.memory
    client.post("/v1/locate", files=photos(jpeg()))
    client.post("/v1/locate", files=photos(b"bad"))
    client.post("/v1/locate?region=none", files=photos(jpeg()))
    client.post("/v1/heat", files=photos(jpeg(), jpeg()))
    client.post("/v1/locate", content=b"--b\r\n", headers={"Content-Type": "multipart/form-data"})
    assert memory.used_bytes == 0


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


def test_a_length_in_other_digits_than_those_of_numbers_is_no_fault():
    async def run():
        async def body():
            yield jpeg()

        kind = {"content-type": "image/jpeg", "content-length": "\N{SUPERSCRIPT TWO}"}
        (upload,) = await read_uploads(kind, body(), Settings(), MemoryBudget(10**8))
        assert upload.data == jpeg()

    asyncio.run(run())


def test_a_boundary_that_is_too_long_is_refused(client):
    kind = {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}
    answer = client.post("/v1/locate", content=jpeg(), headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (415, "wrong-type")
