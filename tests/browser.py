"""Where the browser is that tests open pages with, and how to keep it quiet."""

import importlib
import os
import shutil

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


def package(name, distribution):
    """An installed package; skips where it is not, unless a browser is demanded (``.ci/run``)."""
    if os.environ.get("CROSSVIEW_NEEDS_CHROMIUM"):
        return importlib.import_module(name)
    why = f"needs the package {distribution}: pip install -e '.[dev]'"
    return pytest.importorskip(name, reason=why)
