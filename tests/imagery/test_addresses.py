"""Addresses of imagery: which kind one is, what is taken of a service, and what cannot be."""

import pytest

from crossview.errors import InvalidValue
from crossview.imagery.addresses import (
    CogAddress,
    StacAddress,
    Terms,
    WmsAddress,
    WmtsAddress,
    XyzAddress,
    fill_environment,
    fill_template,
    is_address,
    parse_address,
)

HOST = "https://tiles.example"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"{HOST}/{{z}}/{{x}}/{{y}}.jpg", XyzAddress(url=f"{HOST}/{{z}}/{{x}}/{{y}}.jpg")),
        (f"{HOST}/{{z}}/{{x}}/{{y}}#zooms=8-19",
         XyzAddress(url=f"{HOST}/{{z}}/{{x}}/{{y}}", zooms=(8, 19))),
        (f"tms:{HOST}/{{z}}/{{x}}/{{y}}.png", XyzAddress(url=f"{HOST}/{{z}}/{{x}}/{{-y}}.png")),
        (f"{HOST}/1.0.0/WMTSCapabilities.xml#ortho",
         WmtsAddress(url=f"{HOST}/1.0.0/WMTSCapabilities.xml", layer="ortho")),
        (f"{HOST}/geo?SERVICE=WMTS&REQUEST=GetCapabilities#layer=a&matrix=m&time=2020",
         WmtsAddress(url=f"{HOST}/geo?SERVICE=WMTS&REQUEST=GetCapabilities", layer="a",
                     matrix_set="m", dimensions=(("time", "2020"),))),
        (f"{HOST}/wms?SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.1.1#dop",
         WmsAddress(url=f"{HOST}/wms?SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.1.1",
                    layer="dop")),
        (f"wms:{HOST}/ows#layer=dop&crs=EPSG:25833&finest=0.2&format=image/png",
         WmsAddress(url=f"{HOST}/ows", layer="dop", crs="EPSG:25833", finest_px_m=0.2,
                    format="image/png")),
        (f"{HOST}/a/b.TIF", CogAddress(url=f"{HOST}/a/b.TIF")),
        (f"{HOST}/v1/search#collections=naip&asset=image&datetime=2020/..",
         StacAddress(url=f"{HOST}/v1/search", collections=("naip",), asset="image",
                     datetime="2020/..")),
        (f"stac:{HOST}/item#visual", StacAddress(url=f"{HOST}/item", asset="visual")),
    ],
)  # fmt: skip
def test_an_address_is_told_by_its_form_or_by_what_stands_before_it(text, meant):
    assert is_address(text)
    assert parse_address(text) == meant


@pytest.mark.parametrize("text", ["city.tif", "ch-swissimage", "/vsicurl/https://h/a.tif", "C:\\a"])
def test_files_and_names_are_no_addresses(text):
    assert not is_address(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HOST}/imagery", "Say it in front"),
        (f"{HOST}/{{z}}/{{x}}.jpg", "names no tile"),
        (f"{HOST}/{{z}}/{{x}}/{{y}}.{{ext}}", r"\{ext\} is not known"),
        (f"{HOST}/{{z}}/{{x}}/{{y}}#layer=a", "behind # may stand zooms"),
        (f"{HOST}/{{z}}/{{x}}/{{y}}#zooms=9-3", "write zooms as"),
        ("https://{x}.example/{z}/{x}/{y}", "of a server's name"),
        ("https://me:secret@host/{z}/{x}/{y}", "does not belong into an address"),
        ("http://host/{z}/{x}/{y}?key={env:KEY}", "https:// only"),
        (f"wms:{HOST}/a#finest=x", "metres per pixel"),
        (f"wms:{HOST}/a#crs=1&CRS=2", "stands twice"),
        ("https://host:port/{z}/{x}/{y}", "no address"),
    ],
)
def test_what_cannot_be_says_what_could(text, said):
    with pytest.raises(InvalidValue, match=said):
        parse_address(text)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{z}/{x}/{y}", "3/5/2"),
        ("{zoom}/{x}/{-y}", "3/5/5"),
        ("{q}", "121"),  # bits of x 101, of y 010: 1 + 2 * 0, 0 + 2 * 1, 1 + 2 * 0
        ("{s}.h/{z}/{x}/{y}", "b.h/3/5/2"),  # (5 + 2) mod 3
        ("{switch:p,q}.h/{z}/{x}/{y}", "q.h/3/5/2"),
    ],
)
def test_a_template_is_filled_with_the_number_of_a_tile(template, filled):
    assert fill_template(template, 3, 5, 2) == filled


def test_a_token_comes_from_the_environment_and_is_a_secret(monkeypatch):
    monkeypatch.setenv("ORTHO_KEY", "abc")
    assert fill_environment("https://h/{z}?k={env:ORTHO_KEY}") == ("https://h/{z}?k=abc", ("abc",))
    with pytest.raises(InvalidValue, match="environment variable NOT_THERE"):
        fill_environment("https://h/{env:NOT_THERE}")


def test_the_credit_names_the_licence():
    assert Terms(licence="CC BY 4.0", attribution="(c) A").credit == "(c) A (CC BY 4.0)"
    assert Terms(attribution="(c) A").credit == "(c) A"
    assert Terms().credit == ""
