"""Ordinary photos beside hostile ones against the same on a quiet server (keys ..._vs_quiet).

The hostile photos: a JPEG of 6144 x 8136 pixels in 4,002 scans, and a WebP of 34 bytes that
promises 50 million pixels, which are refused from their headers; and the worst of both kinds that
the limits allow: 88 million pixels in 20 scans, and a WebP of 44 million. Each is sent by clients
that do not pause, while one client sends an ordinary photo. Also measured: the memory of the server
with all of its processes, and how long it takes to end at SIGTERM while hostile photos are decoded.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from tests.views.hard_photos import empty_webp, scan_bomb

from benchmarks._serving import Client, build_random_index, start_server, write_photos
from benchmarks.harness import report
from crossview.model import resolve_model
from crossview.service.server import SPARE_S
from crossview.service.settings import Settings

MEGABYTE = 1_000_000
_LOOK_S = 0.05
_TOGETHER = 2  # clients that send hostile photos


def main() -> None:
    """Measure, print the details on stderr, and the result line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="each with a quiet part")
    parser.add_argument("--photos", type=int, default=20, help="ordinary ones, in each part")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        folder = Path(name)
        index = build_random_index(folder / "index", resolve_model("town"), 2500)
        photo = write_photos(folder / "photos", 1)[0].read_bytes()
        with start_server(index.path, "--quiet") as (process, address):
            with watch_memory(process.pid) as peaks:
                seconds, statuses = _measure(address, photo, _make_hostile(), arguments)
            ending_s = _measure_end(process, address, _make_hostile()["allowed_scans"])
    quiet = seconds["quiet"]
    medians = {f"{kind}_s": statistics.median(chain(*parts)) for kind, parts in seconds.items()}
    ratios = {
        f"{kind}_vs_quiet": statistics.median(
            statistics.median(calm) / statistics.median(beside)
            for calm, beside in zip(quiet, parts, strict=True)
        )
        for kind, parts in seconds.items()
        if kind != "quiet"
    }
    facts = {
        "statuses": statuses,
        "peak_mb": round(peaks["all"] / MEGABYTE),
        "peak_decoder_mb": round(peaks["one"] / MEGABYTE),
        "ends_after_s": round(ending_s, 1),
        "may_end_after_s": Settings.finish_s + SPARE_S,
    }
    print(f"{medians}\n{ratios}\n{facts}", file=sys.stderr)
    report(
        name="hostile", ratios=ratios, n=arguments.rounds * arguments.photos,
        threads=os.cpu_count() or 1, medians=medians, **facts,
    )  # fmt: skip


def _make_hostile() -> dict[str, bytes]:
    return {
        "scans": scan_bomb(6144, 8136, 4000),
        "webp": empty_webp(10_000, 5_000),
        "allowed_scans": scan_bomb(9400, 9400, 18),
        "allowed_webp": empty_webp(8_000, 5_500),
    }


def _measure(
    address: tuple[str, int], photo: bytes, hostile: dict[str, bytes], arguments: Any
) -> tuple[dict[str, list[list[float]]], dict[str, dict[int, int]]]:
    """Seconds of ordinary photos, of each part of each round; and what the hostile ones got."""
    seconds: dict[str, list[list[float]]] = {"quiet": [], **{kind: [] for kind in hostile}}
    statuses: dict[str, dict[int, int]] = {kind: {} for kind in hostile}
    _time_photos(address, photo, 5)  # all processes are there
    for _ in range(arguments.rounds):
        seconds["quiet"].append(_time_photos(address, photo, arguments.photos))
        for kind, content in hostile.items():
            with send_on(address, content, statuses[kind]):
                time.sleep(1.0)
                seconds[kind].append(_time_photos(address, photo, arguments.photos))
            time.sleep(2.0)  # what was left behind is stopped
    return seconds, statuses


def _time_photos(address: tuple[str, int], photo: bytes, count: int) -> list[float]:
    client, taken = Client(address), []
    for _ in range(count):
        start = time.perf_counter()
        status, _ = client.locate(photo)
        taken.append(time.perf_counter() - start)
        if status != 200:
            raise RuntimeError(f"an ordinary photo got {status}")
    return taken


@contextmanager
def send_on(address: tuple[str, int], content: bytes, statuses: dict[int, int]) -> Iterator[None]:
    """Clients that send ``content`` without a pause, and hang up at the end."""
    ended, lock = threading.Event(), threading.Lock()
    lines: list[http.client.HTTPConnection] = []

    def send() -> None:
        while not ended.is_set():
            line = http.client.HTTPConnection(*address, timeout=120)
            lines.append(line)
            try:
                line.request("POST", "/v1/locate", content, {"Content-Type": "image/jpeg"})
                answer = line.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                continue  # it was closed
            with lock:
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
            line.close()

    threads = [threading.Thread(target=send, daemon=True) for _ in range(_TOGETHER)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for line in lines:
            if line.sock is not None:
                line.sock.shutdown(2)
        for thread in threads:
            thread.join()


def _measure_end(process: Any, address: tuple[str, int], content: bytes) -> float:
    """Seconds from SIGTERM to the end while hostile photos are decoded."""
    for _ in range(_TOGETHER):
        threading.Thread(target=_post, args=(address, content), daemon=True).start()
    time.sleep(2.0)
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait(Settings.finish_s + 30.0)
    return time.perf_counter() - start


def _post(address: tuple[str, int], content: bytes) -> None:
    try:
        Client(address).locate(content)
    except (OSError, http.client.HTTPException):
        return


@contextmanager
def watch_memory(process: int) -> Iterator[dict[str, int]]:
    """The most bytes that a process and those below it took together, and one of the latter.

    What processes share is counted once (proportional set size, of Linux).
    """
    peaks, ended = {"all": 0, "one": 0}, threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            sizes = {number: _read_pss(number) for number in list_processes(process)}
            peaks["all"] = max(peaks["all"], sum(sizes.values()))
            below = [size for number, size in sizes.items() if number != process]
            peaks["one"] = max([peaks["one"], *below])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def list_processes(process: int) -> list[int]:
    """A process and all below it; those that have just ended are left out."""
    found = [process]
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text(encoding="ascii").split():
                found += list_processes(int(child))
    except OSError:
        pass
    return found


def _read_pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    kilobytes = next((line.split()[1] for line in text.splitlines() if line[:4] == "Pss:"), "0")
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
