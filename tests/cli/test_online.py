"""Imagery by address on the command line: told first, accepted, fetched once, credited."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.imagery.map_services import BOX, XyzService, answer_wmts, paint_tile
from tests.web_server import serving

from crossview.cli import main
from crossview.index.store import Index


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSVIEW_CACHE", str(tmp_path / "cache"))


def index(address, out, *more):
    return main(["index", address, "--bbox", BOX, "--out", str(out), "--quiet", "--stride", "40",
                 "--model", "town", "--demo-only", *more])  # fmt: skip


def test_an_index_of_an_address_equals_that_of_its_tiles_and_names_whose_they_are(tmp_path):
    with serving(XyzService()) as server:
        address = server.address + "/{z}/{x}/{y}.png"
        given = ("--accept-licence", "--attribution", "(c) Paint")
        assert index(address, tmp_path / "far.cvx", *given) == 0
        count = len(server.asked)
        again = ["--restart", "--overwrite"]
        assert index(address, tmp_path / "far.cvx", *given, *again) == 0
        assert len(server.asked) == count
    tiles = tmp_path / "tiles"
    for path in server.paths():
        zoom, x, y = path.strip("/").removesuffix(".png").split("/")
        (tiles / zoom / x).mkdir(parents=True, exist_ok=True)
        (tiles / zoom / x / f"{y}.png").write_bytes(paint_tile(int(zoom), int(x), int(y)))
    assert main(["index", str(tiles), "--out", str(tmp_path / "near.cvx"), "--quiet", "--stride",
                 "40", "--model", "town", "--demo-only"]) == 0  # fmt: skip
    far, near = Index.open(tmp_path / "far.cvx"), Index.open(tmp_path / "near.cvx")
    assert far.count == near.count > 20
    for one, other in zip(far.manifest.segments, near.manifest.segments, strict=True):
        named = [name for name in one.files if "vectors" in name or "places" in name]
        assert len(named) == 2
        assert all(one.files[name].sha256 == other.files[name].sha256 for name in named)
    assert far.manifest.imagery.attribution == "(c) Paint"


def test_a_licence_that_nobody_has_read_is_refused_before_a_tile_is_fetched(tmp_path, capsys):
    with serving(lambda asked: answer_wmts(asked, server.address)) as server:
        assert index(server.address + "/WMTSCapabilities.xml", tmp_path / "a.cvx") == 2
        said = capsys.readouterr().err
        assert "Licence of Paint 1.0" in said
        assert "--accept-licence" in said
        assert len(server.asked) == 1
        done = index(server.address + "/WMTSCapabilities.xml", tmp_path / "a.cvx",
                     "--accept-licence")  # fmt: skip
        assert done == 0
    assert Index.open(tmp_path / "a.cvx").manifest.imagery.attribution == "Office of Paint"


def test_a_dry_run_tells_tiles_bytes_and_minutes_and_fetches_none(tmp_path, capsys):
    with serving(XyzService()) as server:
        assert index(server.address + "/{z}/{x}/{y}.png", tmp_path / "a.cvx", "--dry-run") == 0
        said = capsys.readouterr().out
        assert "tiles of" in said
        assert "MB to fetch, about" in said
        assert "licence unknown" in said
        assert server.asked == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["https://h.example/{z}/{x}/{y}", "--out", "a"], "needs an area"),
        (["city.tif", "--out", "a", "--bbox", BOX], "none is given"),
        (["https://h.example/a", "--out", "a", "--bbox", BOX], "Say it in front"),
        (
            ["https://h.example/{z}/{x}/{y}", "--out", "a", "--bbox", BOX, "--area", "x"],
            "both name",
        ),
        (["https://h.example/{z}/{x}/{y}", "--out", "https://h.example/a"], "Here a file is meant"),
    ],
)
def test_what_is_wrong_is_said_without_asking_anybody(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["index", *words]) == 2
    assert said in capsys.readouterr().err


def test_imagery_too_coarse_is_refused_before_it_is_fetched(tmp_path, capsys):
    with serving(XyzService()) as server:
        address = server.address + "/{z}/{x}/{y}.png#zooms=0-14"
        assert index(address, tmp_path / "a.cvx", "--accept-licence") == 1
        assert "Nothing was fetched" in capsys.readouterr().err
        assert server.asked == []


def test_worlds_take_an_address_too(tmp_path, capsys):
    with serving(XyzService()) as server:
        words = [
            "world",
            "--out",
            str(tmp_path / "w"),
            "--from",
            server.address + "/{z}/{x}/{y}.png",
        ]
        assert main([*words, "--bbox", BOX]) == 2
        assert "--accept-licence" in capsys.readouterr().err
        assert server.asked == []


def test_without_an_address_nothing_that_talks_to_servers_is_loaded(tmp_path):
    tile = tmp_path / "18" / "140000" / "131000.png"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(paint_tile(18, 140000, 131000))
    code = (
        "import sys\nfrom crossview.cli import main\n"
        f"assert main(['index', {str(tmp_path)!r}, '--out', {str(tmp_path / 'r.cvx')!r}, '--model',"
        " 'town', '--demo-only', '--quiet']) == 0\n"
        "print(*[n for n in ('httpx', 'owslib', 'platformdirs') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


def test_pairs_fetch_the_imagery_around_their_photos(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = ["file,lat,lon,heading_deg,fov_deg"]
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.jpg")
        rows.append(f"{number}.jpg,{52.5004 + 0.0003 * number},13.3720,{40 * number},90")
    (photos / "photos.csv").write_text("\n".join(rows))
    with serving(XyzService()) as server:
        address = server.address + "/{z}/{x}/{y}.png"
        words = ["pairs", str(photos / "photos.csv"), "--imagery", address, "--out",
                 str(tmp_path / "mine"), "--workers", "0", "--quiet"]  # fmt: skip
        assert main(words) == 2
        assert "--accept-licence" in capsys.readouterr().err
        assert main([*words, "--accept-licence"]) == 0
    assert len((tmp_path / "mine" / "pairs.csv").read_text().splitlines()) == 5
    assert "Imagery of 127.0.0.1" in (tmp_path / "mine" / "ATTRIBUTION.md").read_text()
