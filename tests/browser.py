"""Where the browser is that tests open pages with, and how to keep it quiet."""

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
