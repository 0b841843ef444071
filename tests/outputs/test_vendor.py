"""What is not ours is unchanged, named and licensed; what is ours stays small."""

import hashlib
import json
from importlib.resources import files

from crossview.outputs import page, template

VENDOR = files("crossview.maps") / "vendor"
LISTED = json.loads((VENDOR / "vendor.json").read_text())


def test_vendored_files_are_the_ones_that_are_listed():
    hashes = {name: h for package in LISTED.values() for name, h in package["sha256"].items()}
    there = {f.name: f.read_bytes() for f in VENDOR.iterdir() if f.name != "vendor.json"}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in there.items()} == hashes


def test_every_vendored_package_comes_with_its_licence():
    assert LISTED["leaflet"]["licence"] == "BSD-2-Clause"
    assert "BSD 2-Clause License" in (VENDOR / "leaflet.LICENSE").read_text()


def test_every_file_of_the_page_is_used():
    own = {f"page/{f.name}" for f in (files("crossview.maps") / "page").iterdir()}
    assert own == {*template.SCRIPTS, *template.STYLES, "page/page.html"}


def test_what_every_page_carries_fits_into_what_is_set_aside_for_it():
    empty = template.page_html({"title": "", "banners": ""}, {})
    assert len(empty.encode()) < page.ASSETS_BYTES
