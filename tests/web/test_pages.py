"""What is not ours is unchanged, named and licensed; what is ours is used and stays small."""

import hashlib
import json
from importlib.resources import files

import pytest

from crossview.outputs import map_page

WEB = files("crossview.web")
VENDOR = WEB / "vendor"
LISTED = json.loads((VENDOR / "vendor.json").read_text())


def names(folder):
    return {f"{folder}/{file.name}" for file in (WEB / folder).iterdir()}


def test_vendored_files_are_the_ones_that_are_listed():
    hashes = {name: h for package in LISTED.values() for name, h in package["sha256"].items()}
    contents = {f.name: f.read_bytes() for f in VENDOR.iterdir() if f.name != "vendor.json"}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()} == hashes


@pytest.mark.parametrize(("package", "licence", "text"), [
    ("leaflet", "BSD-2-Clause", "BSD 2-Clause License"),
    ("maplibre-gl", "BSD-3-Clause", "Redistribution and use"),
])  # fmt: skip
def test_every_vendored_package_comes_with_its_licence(package, licence, text):
    assert LISTED[package]["licence"] == licence
    assert text in (VENDOR / f"{package}.LICENSE").read_text()


def test_every_file_of_the_page_of_answers_is_used():
    used = {*map_page.SCRIPTS, *map_page.STYLES, map_page.TEMPLATE}
    assert names("answers") | names("shared") == used


def test_what_every_page_carries_fits_into_what_is_set_aside_for_it():
    empty = map_page.render_page("", [], {})
    assert len(empty.encode()) < map_page.ASSETS_BYTES
