"""The map page: self-contained, safe, bounded, and true to the answers."""

import base64
import hashlib
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import TOWN, indexed, region, town_model
from tests.outputs.fakes import HOSTILE, ORIGIN, answer, answers_of, photo_pixels, place
from tests.outputs.pages import read_page

from crossview.errors import CannotWrite, InvalidValue
from crossview.outputs.map_page import LEAST_BYTES, MAX_BYTES, embed_json, write_map

MB = 1_000_000


@pytest.fixture
def write(index, tmp_path):
    """Writes a page and reads it back."""

    def written(answers, **options):
        write_map(tmp_path / "map.html", index, answers, **options)
        return read_page(tmp_path / "map.html")

    return written


def test_the_page_asks_for_nothing_outside_of_itself(index, write):
    page = write(answers_of(index, 2))
    assert page.values("src", "srcset", "data", "action", "poster", "background") == []
    assert sorted(page.values("href")) == ["#map", "#panel", "data:,"]
    styles = "".join(re.findall(r"(?s)<style>(.*?)</style>", page.text))
    assert re.findall(r"url\(|@import", styles) == []
    assert "sourceMappingURL" not in page.text


def test_addresses_occur_only_inside_of_the_vendored_script(index, write):
    page = write(answers_of(index, 1))
    leaflet = max(re.findall(r"(?s)<script>(.*?)</script>", page.text), key=len)
    assert "Redistributions in binary form must reproduce the above copyright notice" in leaflet
    rest = page.text.replace(leaflet, "")
    for namespace in ("http://www.w3.org/2000/svg", "http://www.opengis.net/kml/2.2"):
        rest = rest.replace(namespace, "")
    links = set(re.findall(r"https?://[^/]+", rest))
    assert links == {"https://www.openstreetmap.org"}, "of a place, for whoever follows it"


def test_the_policy_forbids_the_network_and_names_each_script_by_its_hash(index, write):
    page = write(answers_of(index, 1))
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data: blob:; ")
    scripts = re.findall(r"(?s)<script>(.*?)</script>", page.text)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests


@pytest.mark.parametrize("name", [HOSTILE, "--><!--x", "]]>", "<!--crossview:title-->", "\ud800"])
def test_hostile_names_stay_text(index, write, name):
    honest = write(answers_of(index, 1))
    hostile = write([answer(name, places=[place()], assumptions=(name,), warnings=(name,))])
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in honest.elements]
    assert hostile.text.count("alert(1)") == 3 * name.count("alert(1)")
    assert "\\u003c" in hostile.text or "<" not in name


def test_json_inside_of_a_script_element_cannot_end_it():
    text = embed_json(["</script><!--", "&amp;", "\u2028", 'a"b'])
    assert not set("<>&\u2028") & set(text)


def test_hostile_index_names_stay_text(tmp_path):
    town = indexed(tmp_path, name="<b>&'\" town.cvx", stride_m=40.0)
    write_map(tmp_path / "m.html", town, [])
    page = read_page(tmp_path / "m.html")
    assert "<title>&lt;b&gt;&amp;&#39;&#34; town.cvx - crossview</title>" in page.text
    assert page.facts["region"]["name"] == "<b>&'\" town.cvx"


def test_folders_of_photos_are_not_on_the_page(index, write):
    page = write([answer("/secret/folder/a.jpg"), answer("/x/b.jpg"), answer("/y/b.jpg")])
    assert [p["photo"] for p in page.facts["photos"]] == ["a.jpg", "x/b.jpg", "y/b.jpg"]
    assert "secret" not in page.text


def test_every_photo_comes_with_its_places_truth_and_error(index, write):
    given = answers_of(index, 3)
    facts = write(given).facts
    for record, answered in zip(facts["photos"], given, strict=True):
        assert [p["rank"] for p in record["places"]] == list(range(1, 11))
        assert record["truth"]["lat"] == pytest.approx(answered.truth.lat, abs=1e-6)
        assert record["error_m"] == pytest.approx(10, abs=0.1)


def test_accuracy_is_given_for_each_kind_of_photo(index, write):
    photos = answers_of(index, 2)
    panorama = replace(answers_of(index, 1)[0], kind="panorama", fov_deg=360.0)
    summary = write([*photos, panorama, answer("unknown.jpg")]).facts["summary"]
    assert summary["photos"] == 4
    assert [(k["kind"], k["n"], k["fov_deg"]) for k in summary["kinds"]] == [
        ("perspective", 2, [65, 65]), ("panorama", 1, [360, 360]),
    ]  # fmt: skip
    assert summary["kinds"][0]["median_error_m"] == pytest.approx(10, abs=0.1)
    assert summary["kinds"][0]["within_25m"] == summary["kinds"][0]["recall_at_10"] == 1.0


def test_a_photo_of_known_truth_without_places_is_not_an_error_of_zero(write):
    lost = answer("lost.jpg", places=(), truth=ORIGIN)
    assert write([lost]).facts["summary"]["kinds"][0] == {
        "kind": "perspective", "fov_deg": [65, 65], "n": 1, "within_25m": 0.0
    }  # fmt: skip


def test_without_truth_heading_or_places_nothing_is_invented(index, write):
    given = answers_of(index, 1, heading_deg=None, truth=False)
    facts = write([*given, answer("none.jpg", places=())]).facts
    assert facts["summary"]["kinds"] == []
    assert not {"heading_deg", "error_m", "probability"} & set(facts["photos"][0]["places"][0])
    assert facts["photos"][1]["places"] == []


def test_photos_may_be_pixels_bytes_images_or_paths_and_lose_their_metadata(index, write, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.fromarray(photo_pixels()).save(tmp_path / "c.jpg", exif=exif)
    encoded = (tmp_path / "c.jpg").read_bytes()
    names = ["a", "b", "d", str(tmp_path / "c.jpg"), "gone.jpg"]
    photos = {"a": photo_pixels(), "b": encoded, "d": Image.open(BytesIO(encoded))}
    page = write([answer(name) for name in names], photos=photos)
    assert [p["picture"] for p in page.facts["photos"]] == [0, 1, 2, 3, None]
    pictures = [base64.b64decode(text) for text in page.pictures["photos"]]
    assert all(Image.open(BytesIO(p)).size == (400, 300) for p in pictures)
    assert not any(b"taken at home" in p for p in pictures)
    assert any("could not be read" in note for note in page.facts["notes"])


def test_the_page_keeps_to_its_limit_and_says_what_is_missing(index, tmp_path):
    given = answers_of(index, 60)
    photos = {a.photo: photo_pixels(seed) for seed, a in enumerate(given)}
    out = tmp_path / "map.html"
    notes = write_map(out, index, given, photos=photos, max_bytes=LEAST_BYTES)
    assert 0.7 * LEAST_BYTES < out.stat().st_size <= LEAST_BYTES
    assert any("60 photos" in note for note in notes)
    assert read_page(out).facts["notes"] == notes


def test_photos_get_smaller_before_any_is_left_out(index, tmp_path):
    given = answers_of(index, 20)
    photos = {a.photo: photo_pixels(seed) for seed, a in enumerate(given)}
    out = tmp_path / "map.html"
    assert write_map(out, index, given, photos=photos, max_bytes=2_200_000) == []
    pictures = read_page(out).pictures["photos"]
    sizes = {Image.open(BytesIO(base64.b64decode(text))).size for text in pictures}
    assert sizes == {(320, 240)}


def test_everything_fits_into_a_page_that_may_be_large(index, tmp_path):
    given = answers_of(index, 20)
    photos = {a.photo: photo_pixels(seed) for seed, a in enumerate(given)}
    assert write_map(tmp_path / "map.html", index, given, photos=photos) == []


def test_too_small_a_limit_is_refused(index, tmp_path):
    with pytest.raises(InvalidValue, match="at least"):
        write_map(tmp_path / "map.html", index, [], max_bytes=1000)


def test_a_missing_folder_is_named(index, tmp_path):
    with pytest.raises(CannotWrite, match="there is no folder"):
        write_map(tmp_path / "no" / "map.html", index, [])


def test_a_demo_only_index_and_a_synthetic_town_carry_their_banners(index, tmp_path, write):
    assert 'class="banner ' not in write([]).text.partition("<noscript>")[0]
    real = indexed(tmp_path, embedder=town_model(), demo_only=True, stride_m=40.0)
    write_map(tmp_path / "demo.html", real, [])
    said = "Made with a model trained on a synthetic town; its places are not evidence."
    assert said in read_page(tmp_path / "demo.html").text
    paths = [region(tmp_path, "town.tif", synthetic=True)]
    town = indexed(tmp_path, paths=paths, name="t.cvx", embedder=town_model(), stride_m=40.0)
    assert town.manifest.imagery.synthetic == TOWN
    write_map(tmp_path / "town.html", town, [])
    page = read_page(tmp_path / "town.html")
    assert "Synthetic town: imagery and pictures were made by a program." in page.text
    assert said not in page.text


def test_attribution_and_date_of_the_imagery_are_on_the_page(write):
    assert write([]).facts["region"]["attribution"] == "(c) Meadow"


def test_heat_of_the_page_has_one_code_per_window(index, write):
    given = answers_of(index, 1)
    facts = write(given).facts
    codes = np.frombuffer(base64.b64decode(facts["photos"][0]["heat"]["codes"]), np.uint8)
    assert len(codes) == index.count
    assert codes.argmax() == given[0].scores.argmax()
    lat = np.frombuffer(base64.b64decode(facts["heat"]["lat"]), "<f8")
    np.testing.assert_allclose(lat, index.lat)


def test_a_page_takes_as_much_as_the_documents_say():
    assert MAX_BYTES == 50 * MB
    documents = Path(__file__).resolve().parents[2] / "docs"
    for name in ("outputs.md", "commands.md"):
        text = (documents / name).read_text(encoding="utf-8")
        assert f"at most {MAX_BYTES // MB} MB" in text
