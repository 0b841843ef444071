"""Where the browser is that tests open pages with, and how to keep it quiet."""

import importlib
import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
if not CHROMIUM and os.environ.get("CROSSVIEW_NEEDS_CHROMIUM"):
    raise RuntimeError("no Chromium found, and CROSSVIEW_NEEDS_CHROMIUM is set")
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="needs Chromium; on Debian: apt install chromium"
)
QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic",
]  # fmt: skip
_SAFE = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]
WEBGL = {
    "with WebGL": [
        *_SAFE, "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    ],
    "without WebGL": [*_SAFE, "--disable-gpu", "--disable-3d-apis"],
}  # fmt: skip
"""Switches of a browser that draws WebGL in software, and of one that has none."""
MODES = list(WEBGL) if os.environ.get("WEBGL") == "both" else ["without WebGL"]
"""In which every test of the page runs; the journeys through it run in both in any case."""


@contextmanager
def open_chromium(arguments=QUIET):
    """The browser, driven by Playwright, until the end of the block."""
    driving = package("playwright.sync_api", "playwright")
    with driving.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def package(name, distribution):
    """An installed package; skips where it is not, unless a browser is demanded (``.ci/run``)."""
    if os.environ.get("CROSSVIEW_NEEDS_CHROMIUM"):
        return importlib.import_module(name)
    why = f"needs the package {distribution}: pip install -e '.[dev]'"
    return pytest.importorskip(name, reason=why)
