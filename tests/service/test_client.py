"""The Python client, and the examples of the documents, against a running server."""

import json
import math
import os
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError

import pytest
from tests.service.running import post, running

from crossview.errors import InvalidValue
from crossview.service.client import Client, ServiceRefused

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "service.md"


@pytest.fixture(scope="module")
def address(folder):
    with running(folder, "--max-files", "5") as (_, where):
        yield where


def test_the_client_locates_in_three_lines(address, photo_folder):
    client = Client(address)
    place = client.locate(photo_folder / "photo.jpg", places=3)["places"][0]
    assert place["rank"] == 1
    assert client.regions()[0]["name"] == "region"


def test_the_client_sends_polygons_and_a_claim(address, photo_folder):
    """Also the longest area that is allowed, which the address has to hold."""
    client = Client(address)
    everywhere = client.locate(photo_folder / "photo.jpg")["places"]
    lat, lon = everywhere[1]["lat"], everywhere[1]["lon"]
    turns = [2.0 * math.pi * n / 800 for n in range(800)]
    ring = [[round(lon + 1e-5 * math.sin(a), 7), round(lat + 1e-5 * math.cos(a), 7)] for a in turns]
    area = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    assert 15_000 < len(json.dumps(area, separators=(",", ":"))) < 20_000
    answer = client.locate(photo_folder / "photo.jpg", area=area, claim=(lat, lon))
    assert [place["window"] for place in answer["places"]] == [everywhere[1]["window"]]
    assert (answer["claim"]["rank"], answer["claim"]["windows"]) == (1, 1)


def test_the_client_follows_a_long_batch(address, photo_folder):
    (photo_folder / "bad.jpg").write_bytes(b"bad")
    response = list(
        Client(address).locate_many([photo_folder / n for n in ("a.jpg", "bad.jpg", "b.jpg")])
    )
    assert {f["photo"] for f in response if "places" in f} == {"a.jpg", "b.jpg"}
    assert [f["photo"] for f in response if "detail" in f] == ["bad.jpg"]


def test_the_client_raises_what_the_server_refuses(address, photo_folder):
    with pytest.raises(ServiceRefused, match="degree|360") as refused:
        Client(address).locate(photo_folder / "a.jpg", fov=1000)
    assert refused.value.status == 422
    with pytest.raises(ServiceRefused, match="127"):
        Client("http://127.0.0.1:1").regions()
    with pytest.raises(InvalidValue):
        Client("file:///etc/passwd")


def test_the_manual_s_python_example_works(address, photo_folder, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.S)[1]
    monkeypatch.chdir(photo_folder)
    exec(example.replace("http://127.0.0.1:8765", address), {})
    assert "'rank': 1" in capsys.readouterr().out


def curl_examples():
    """Of the manual and of the start page, each line once."""
    pages = (MANUAL, MANUAL.parent / "start" / "service.md")
    blocks = [
        re.search(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S) for page in pages
    ]
    return list(dict.fromkeys(line for block in blocks for line in block[1].strip().splitlines()))


@pytest.mark.skipif(
    not shutil.which("curl") or os.name == "nt", reason="no curl, or a shell that quotes otherwise"
)
@pytest.mark.parametrize("line", curl_examples())
def test_the_manual_s_curl_examples_work(address, photo_folder, line):
    command = line.replace("http://127.0.0.1:8765", address).replace("curl ", "curl -sSf ", 1)
    done = subprocess.run(
        command, shell=True, cwd=photo_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = photo_folder / "places.geojson"
    text = written.read_text() if written.exists() else done.stdout
    assert "crossview_info{" in text if line.endswith("/metrics") else json.loads(text)


def test_a_large_upload_with_a_wrong_hint_still_gets_the_reason(address):
    assert post(address, bytes(30_000_000), "?fov=0") == 422
    assert post(address, bytes(30_000_000), "?region=none") == 404


def test_a_client_retries_after_half_a_minute_at_most_and_gives_up_after_a_minute(monkeypatch):
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
