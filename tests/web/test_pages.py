"""What is not ours is unchanged, named and licensed; what is ours is used and stays small."""

import hashlib
import json
import re
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


def test_the_vendored_library_comes_with_its_licence():
    assert {name: facts["licence"] for name, facts in LISTED.items()} == {"leaflet": "BSD-2-Clause"}
    assert "BSD 2-Clause License" in (VENDOR / "leaflet.LICENSE").read_text()


PAGES = [map_page.PARTS, map_page.TRACK_PARTS]
OF_A_SERVER = {"api.js", "drag.js", "icon.svg", "lens.js", "service.js"}


def test_every_file_of_the_page_is_in_the_file_or_is_of_a_server_only():
    used = {n for page in PAGES for n in (*page.scripts, *page.styles, page.template)}
    templates = [(WEB / page.template).read_text() for page in PAGES]
    used |= set(re.findall(r'{% include "([^"]+)" %}', "".join(templates)))
    assert names("page") == used | {f"page/{name}" for name in OF_A_SERVER}


@pytest.mark.parametrize("page", PAGES)
def test_scripts_stand_in_the_file_after_those_that_they_import_from(page):
    """There they share one scope, without imports."""
    seen = set()
    for name in page.scripts:
        sources = re.findall(r'from "\./([\w.]+)"', (WEB / name).read_text())
        assert {f"page/{source}" for source in sources} <= seen, name
        seen.add(name)


@pytest.mark.parametrize("page", PAGES)
def test_no_two_scripts_of_the_file_give_one_name_two_meanings(page):
    text = "\n".join((WEB / name).read_text() for name in page.scripts)
    declared = re.findall(r"(?m)^(?:export )?(?:async )?(?:function|const|class) (\w+)", text)
    for line in re.findall(r"(?m)^(?:export )?let (.*?);", text):
        declared += [part.split("=")[0].strip() for part in line.split(", ")]
    assert sorted(declared) == sorted(set(declared))
    assert "import * as" not in text, "a name of a module would be missing"


@pytest.mark.parametrize("page", PAGES)
def test_what_every_page_carries_fits_into_what_is_set_aside_for_it(page):
    empty = map_page.fill_page(page, "", [], {})
    assert len(empty.encode()) < map_page.ASSETS_BYTES
