"""The served page's files: each is used, and they are sent small and only when they changed."""

import re
from importlib.resources import files

import pytest

WEB = files("crossview.web")
OWN = {file.name: file for folder in ("region", "shared") for file in (WEB / folder).iterdir()}
TEXTS = {name: file.read_text(encoding="utf-8") for name, file in OWN.items()}
SCRIPTS = sorted(name for name in OWN if name.endswith(".js"))


def test_no_file_hides_another_of_the_same_name():
    vendored = [file.name for file in (WEB / "vendor").iterdir()]
    names = [file.name for folder in ("region", "shared") for file in (WEB / folder).iterdir()]
    assert len({*names, *vendored}) == len(names) + len(vendored)


def test_every_file_of_the_page_is_asked_for_by_another():
    text = "\n".join(TEXTS.values())
    unused = {name for name in OWN if not re.search(rf"[/\"]{re.escape(name)}\"", text)}
    assert unused == {"page.html"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_only_names_that_exist(name):
    imports = re.findall(r"import \{([^}]*)\} from \"\./([\w.-]+)\"", TEXTS[name])
    for names, source in imports:
        for wanted in re.findall(r"\w+", names):
            exported = rf"export (async )?(function\*?|const|let|class) {wanted}\b"
            assert re.search(exported, TEXTS[source]), (wanted, source)


@pytest.mark.parametrize("name", [*SCRIPTS, "page.html"])
def test_the_page_needs_nothing_that_its_policy_forbids(name):
    assert not re.search(
        r"innerHTML|\beval\(|new Function|\sstyle[=:]\s*[\"`]|<script>|<style", TEXTS[name]
    )


def test_a_file_is_sent_small_and_only_when_it_changed(client):
    address = "/assets/maplibre-gl.mjs"
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.num_bytes_downloaded < 400_000
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content == (WEB / "vendor/maplibre-gl.mjs").read_bytes()
    again = client.get(address, headers={"If-None-Match": packed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == packed.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("name", "kind"), [
    ("main.js", "text/javascript; charset=utf-8"),
    ("maplibre-gl.mjs", "text/javascript; charset=utf-8"),
    ("theme.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
])  # fmt: skip
def test_files_come_with_the_types_that_browsers_demand(client, name, kind):
    assert client.get(f"/assets/{name}").headers["content-type"] == kind


def test_there_is_no_way_out_of_the_page_s_files(client):
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/settings.py", "vendor.json/..", "nothing"):
        assert client.get(f"/assets/{name}").status_code == 404
    for name in ("nothing", "%00", "a" * 5000, "..", ".", "%2e%2e", "..%5capp.py"):
        answer = client.get(f"/assets/{name}")
        assert answer.status_code in (200, 404)  # 200: the client itself went up to the page
        if answer.status_code == 404:
            assert answer.json()["code"] in ("unknown-file", "unknown-path")


def test_the_page_is_there(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
