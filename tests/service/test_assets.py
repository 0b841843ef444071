"""The page's files: each is used, and they are sent small and only when they changed."""

import re
from importlib.resources import files

import pytest

from crossview.service import assets

SCRIPTS = sorted(name for name in assets.table() if name.endswith(".js"))


def test_every_file_of_the_page_is_asked_for_by_another():
    texts = "\n".join(
        asset.data.decode() for name, asset in assets.table().items() if "maplibre" not in name
    )
    own = {file.name for file in (files("crossview.web") / "region").iterdir()} - {"page.html"}
    assert {name for name in own if not re.search(rf"[/\"]{re.escape(name)}\"", texts)} == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_only_names_that_exist(name):
    text = assets.table()[name].data.decode()
    for names, source in re.findall(r"import \{([^}]*)\} from \"\./([\w.-]+)\"", text):
        exported = assets.table()[source].data.decode()
        for wanted in re.findall(r"\w+", names):
            given = rf"export (async )?(function\*?|const|let|class) {wanted}\b"
            together = rf"export \{{[^}}]*\b{wanted}\b"
            assert re.search(f"{given}|{together}", exported), (wanted, source)


@pytest.mark.parametrize("name", [*SCRIPTS, "page.html"])
def test_the_page_needs_nothing_that_its_policy_forbids(name):
    text = assets.table()[name].data.decode()
    assert not re.search(
        r"innerHTML|\beval\(|new Function|\sstyle[=:]\s*[\"`]|<script>|<style", text
    )


def test_a_file_is_sent_small_and_only_when_it_changed(client):
    first = client.get("/assets/maplibre-gl.mjs", headers={"Accept-Encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    assert int(first.headers["content-length"]) < 400_000
    again = client.get("/assets/maplibre-gl.mjs", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_there_is_no_way_out_of_the_page_s_files(client):
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/settings.py", "vendor.json/..", "nothing"):
        assert client.get(f"/assets/{name}").status_code == 404


def test_the_page_is_there(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
