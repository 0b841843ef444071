"""Shared by the benchmarks of the service: an index, photos, a server, and many clients."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.index import _raster
from crossview.imagery.sources import open_sources
from crossview.index.build import build_index
from crossview.index.index_options import IndexOptions
from crossview.index.store import Index
from crossview.model import ModelInfo, compute_fingerprint, read_info


class RandomAerial:
    """A model's facts with random aerial vectors: an index of it takes no network."""

    def __init__(self, folder: Path) -> None:
        self.info: ModelInfo = read_info(folder)
        self.fingerprint = compute_fingerprint(folder)
        self._rng = np.random.default_rng(0)

    def aerial(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Random unit vectors, whatever the images."""
        vectors = self._rng.standard_normal((len(images), self.info.dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    ground = aerial


def build_random_index(folder: Path, model: Path, tiles: int, *, stride_m: float = 20.0) -> Index:
    """An index with random vectors, of imagery that holds about ``tiles`` windows every 20 m."""
    folder.mkdir(parents=True, exist_ok=True)
    raster = _raster(folder / "aerial.tif", tiles)
    options = IndexOptions(
        stride_m=stride_m, footprint_m=80.0, model_name=str(model), overwrite=True
    )
    with open_sources([raster]) as imagery:
        return build_index(imagery, RandomAerial(model), folder / "region.cvx", options=options)


def write_photos(folder: Path, count: int, size: tuple[int, int] = (1024, 512)) -> list[Path]:
    """JPEG panoramas of random patterns."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    paths = [folder / f"{n:04d}.jpg" for n in range(count)]
    for path in paths:
        coarse = rng.integers(0, 255, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths


@contextmanager
def run_server(index: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Run ``crossview serve`` in its own process; yields host and port."""
    with start_server(index, *options) as (_, address):
        yield address


@contextmanager
def start_server(
    index: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """:func:`run_server` with its process, to be measured or ended."""
    words = [sys.executable, "-m", "crossview", "serve", "--index", str(index), "--port", "0"]
    process = subprocess.Popen([*words, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = (re.search(r"at http://([\d.]+):(\d+)/", line) for line in process.stderr)
        match = next(filter(None, lines))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, (match[1], int(match[2]))
    finally:
        process.kill()
        process.wait()


@dataclass
class LoadResult:
    """Answers that many clients received."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    first: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # window, score
    lost: int = 0
    wall_s: float = 0.0

    def add(self, photo: str, seconds: float, status: int, body: bytes) -> None:
        """One answer."""
        self.seconds.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            place = json.loads(body)["answers"][0]["places"][0]
            self.first.setdefault(photo, []).append((place["window"], place["score"]))


class Client:
    """One connection that stays open."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=120)

    def locate(self, data: bytes, query: str = "?places=1") -> tuple[int, bytes]:
        """Status and body of one located photo."""
        headers = {"Content-Type": "image/jpeg"}
        self._connection.request("POST", f"/v1/locate{query}", data, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def send_load(
    address: tuple[str, int], photos: list[Path], clients: int, *, photo_count: int | None = None,
    seconds: float | None = None,
) -> LoadResult:  # fmt: skip
    """Clients that send without a pause, until so many photos are sent or the time is up."""
    contents = {photo.name: photo.read_bytes() for photo in photos}
    names, result, lock = list(contents), LoadResult(), threading.Lock()
    numbers = iter(range(10**9 if photo_count is None else photo_count))
    end = time.perf_counter() + (1e9 if seconds is None else seconds)

    def send_on() -> None:
        client = Client(address)
        while time.perf_counter() < end:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            name, start = names[number % len(names)], time.perf_counter()
            try:
                status, body = client.locate(contents[name])
            except (OSError, http.client.HTTPException):
                client = Client(address)
                with lock:
                    result.lost += 1
                continue
            with lock:
                result.add(name, time.perf_counter() - start, status, body)

    threads = [threading.Thread(target=send_on) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.wall_s = time.perf_counter() - start
    return result


def send_job(address: tuple[str, int], photos: list[Path]) -> dict[str, Any]:
    """Start a long batch of these photos."""
    parts = []
    for photo in photos:
        head = f'--b\r\nContent-Disposition: form-data; name="photo"; filename="{photo.name}"'
        parts += [head.encode(), b"\r\n\r\n", photo.read_bytes(), b"\r\n"]
    body = b"".join([*parts, b"--b--\r\n"])
    connection = http.client.HTTPConnection(*address, timeout=120)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/v1/jobs?places=1", body, kind)
    state: dict[str, Any] = json.load(connection.getresponse())
    return state
