"""The map page of 20 km2 and 20,000 tiles: frames while panning, and an answer, against bounds.

Keys: frames_vs_100_ms (100 ms over the 95th percentile of the time between frames, without a GPU)
and answer_vs_1_s (1 s over the median from choosing a photo to its list of places; pins_s is the
median until its pins are on the map as well). Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._serving import build_random_index, run_server, write_photos
from benchmarks.harness import report
from crossview.model import resolve_model

SWITCHES = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-quic", "--disable-background-networking",
]  # fmt: skip
REGION_M, STRIDE_M = 4500.0, 31.4
FRAMES = """() => { window.frames_ms = []; let last = performance.now();
const next = (now) => { window.frames_ms.push(now - last); last = now;
requestAnimationFrame(next); };
requestAnimationFrame(next); }"""


def main() -> None:
    """Measure and print the line."""
    from playwright.sync_api import sync_playwright

    arguments = _arguments()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        sys.exit("No Chromium. On Debian: apt install chromium")
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        folder = Path(name)
        every_20_m = round(((arguments.side_m - 80.0) / 20.0 + 1.0) ** 2)
        index = build_random_index(folder, resolve_model("town"), every_20_m, stride_m=STRIDE_M)
        photos = write_photos(folder / "photos", 1 + arguments.rounds)
        with run_server(index.path, "--quiet") as (host, port), sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=SWITCHES)
            page = browser.new_page(viewport={"width": 1366, "height": 850})
            page.set_default_timeout(300_000)
            page.goto(f"http://{host}:{port}/")
            page.wait_for_selector("body[data-ready]")
            answers = [_answer_s(page, photo) for photo in photos][1:]
            frames = _frames_ms(page, arguments.seconds)
            browser.close()
    p95 = float(np.percentile(frames, 95))
    answer, pins = map(statistics.median, zip(*answers, strict=True))
    report(
        name="page",
        ratios={"frames_vs_100_ms": 100.0 / p95, "answer_vs_1_s": 1.0 / answer},
        n=len(frames),
        threads=os.cpu_count() or 1,
        medians={"frame_ms": float(np.median(frames)), "answer_s": answer, "pins_s": pins},
        p95_frame_ms=round(p95, 1),
        answers_s=[round(listed, 3) for listed, _ in answers],
        tiles=index.count,
        km2=round(index.manifest.area_km2, 2),
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="photos that are timed")
    parser.add_argument("--seconds", type=float, default=20.0, help="of panning")
    parser.add_argument("--side-m", type=float, default=REGION_M)
    return parser.parse_args()


def _answer_s(page: Any, photo: Path) -> tuple[float, float]:
    """From choosing a photo to its list of places, and to its pins on the map."""
    page.evaluate("() => document.querySelectorAll('.pin').forEach((pin) => pin.dataset.old = '')")
    start = time.perf_counter()
    page.set_input_files("#files", photo)
    page.locator("#sheet .name", has_text=photo.name).wait_for()
    page.locator("#sheet:not(.busy) .places li").first.wait_for()
    listed = time.perf_counter() - start
    page.locator(".pin.first:not([data-old])").wait_for()
    return listed, time.perf_counter() - start


def _frames_ms(page: Any, seconds: float) -> list[float]:
    """Times between frames while the map is dragged to and fro, zoomed in by two steps."""
    page.locator(".leaflet-control-zoom-in").dblclick()
    page.wait_for_timeout(3000)
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(FRAMES)
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end:
        page.mouse.move(x, y)
        page.mouse.down()
        sign = 1 if turn % 4 < 2 else -1
        for step in range(1, 31):
            page.mouse.move(x + sign * 8 * step, y + sign * 4 * step)
        page.mouse.up()
        turn += 1
    frames: list[float] = page.evaluate("() => window.frames_ms")
    return frames[1:]


if __name__ == "__main__":
    main()
