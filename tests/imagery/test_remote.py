"""Imagery from servers: planned before it is fetched, fetched once, and lying where it should."""

import numpy as np
import pytest
from tests.imagery.map_services import (
    BOX,
    XyzService,
    answer_wms,
    answer_wmts,
    paint_places,
    paint_tile,
)
from tests.web_server import Answer, serving

from crossview import downloads as module
from crossview.downloads import Downloads, Politeness
from crossview.errors import (
    BadAnswer,
    CannotWrite,
    EmptyRegion,
    InvalidValue,
    ServiceDown,
    TooCoarse,
)
from crossview.geo.perimeters import parse_box
from crossview.imagery import remote
from crossview.imagery.addresses import parse_address
from crossview.imagery.remote import Demand, fetch_imagery, plan_fetch, require_fine
from crossview.imagery.sources import open_sources

AREA = parse_box(BOX)
QUICK = {"": Politeness(requests_per_s=5000.0, burst=500, tries=3, timeout_s=5.0)}
WANTED = Demand(px_m=0.5)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)


def fetch(address, cache, area=AREA, demand=WANTED):
    with Downloads(politeness=QUICK) as client:
        plan = plan_fetch(parse_address(address), area, demand, client, cache)
        return plan, fetch_imagery(plan, client)


def measure_error(paths):
    """The largest difference of any pixel from the colour of its place, but at the steps."""
    worst, covered = 0.0, 0
    with open_sources(paths) as imagery:
        for sheet in imagery.sheets:
            patch = sheet.store.read(sheet.box)
            assert patch.valid is None or patch.valid.any()
            columns, rows = np.meshgrid(
                np.arange(sheet.box.width) + 0.5, np.arange(sheet.box.height) + 0.5
            )
            expected = paint_places(*sheet.grid.latlon(columns, rows)).astype(int)
            apart = np.abs(patch.pixels.astype(int) - expected).max(axis=-1)
            valid = np.ones_like(apart, bool) if patch.valid is None else patch.valid > 0
            worst = max(worst, float(np.quantile(apart[valid], 0.99)))
            covered += int(valid.sum())
        info = imagery.info
    assert covered > 100_000
    return worst, info


def list_services():
    yield "wmts by templates", answer_wmts, "/WMTSCapabilities.xml"
    yield "wmts by names", lambda a, s: answer_wmts(a, s, rest=False), "/x?service=WMTS"
    yield "wmts of utm", lambda a, s: answer_wmts(a, s, mercator=False), "/WMTSCapabilities.xml"
    for version, crs in [("1.1.1", "EPSG:4326"), ("1.3.0", "EPSG:4326"), ("1.3.0", "CRS:84"),
                         ("1.3.0", "EPSG:25833"), ("1.3.0", "EPSG:3857"), ("1.3.0", "EPSG:31468"),
                         ("1.1.1", "EPSG:31468")]:  # fmt: skip
        yield (
            f"wms {version} {crs}",
            lambda a, s, v=version, c=crs: answer_wms(a, s, v, c),
            "/wms?service=WMS#dop",
        )


@pytest.mark.parametrize(
    ("answer", "path"), [case[1:] for case in list_services()], ids=[c[0] for c in list_services()]
)
def test_every_pixel_lies_where_the_service_has_it(answer, path, tmp_path):
    with serving(lambda asked: answer(asked, server.address)) as server:
        _, paths = fetch(server.address + path, tmp_path)
        count = len(server.asked)
        worst, info = measure_error(paths)
        assert worst <= 2.0
        south, west, north, east = info.bounds
        assert west <= 13.3700
        assert south <= 52.5000
        assert east >= 13.3740
        assert north >= 52.5020
        fetch(server.address + path, tmp_path)
        assert len(server.asked) == count, "something was fetched twice"


def test_a_template_gives_the_same_as_its_tiles_in_a_folder(tmp_path):
    with serving(XyzService()) as server:
        plan, (folder,) = fetch(server.address + "/{z}/{x}/{y}.png", tmp_path / "cache")
    own = tmp_path / "own"
    for file in folder.glob("*/*/*.png"):
        zoom, x, y = (int(part) for part in file.with_suffix("").parts[-3:])
        (own / str(zoom) / str(x)).mkdir(parents=True, exist_ok=True)
        (own / str(zoom) / str(x) / f"{y}.png").write_bytes(paint_tile(zoom, x, y))
    assert plan.pieces == plan.missing == len(server.asked) == len(list(own.glob("*/*/*.png")))
    with open_sources([folder]) as fetched, open_sources([own]) as local:
        assert [s.grid for s in fetched.sheets] == [s.grid for s in local.sheets]
        for one, other in zip(fetched.sheets, local.sheets, strict=True):
            assert (one.store.read(one.box).pixels == other.store.read(other.box).pixels).all()
        assert fetched.info.attribution == "Imagery of 127.0.0.1"
    worst, _ = measure_error([folder])
    assert worst <= 2.0


def test_rows_from_the_south_and_a_token_that_is_nowhere_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PAINT_KEY", "geheim")

    def answer(asked):
        assert asked.query["key"] == "geheim"
        zoom, x, y = (int(part) for part in asked.path.removesuffix(".png").split("/")[1:])
        return Answer(paint_tile(zoom, x, 2**zoom - 1 - y))

    with serving(answer) as server:
        _, paths = fetch(server.address + "/{z}/{x}/{-y}.png?key={env:PAINT_KEY}", tmp_path)
    assert measure_error(paths)[0] <= 2.0
    texts = [p.read_bytes() for p in tmp_path.rglob("*.json")] + [str(p).encode() for p in paths]
    assert texts
    assert not any(b"geheim" in text for text in texts)


def test_the_coarsest_zoom_that_is_fine_enough_is_taken(tmp_path):
    with serving(XyzService()) as server, Downloads() as client:
        address = parse_address(server.address + "/{z}/{x}/{y}.png")
        rough, fine = (plan_fetch(address, AREA, Demand(px_m=px), client, tmp_path)
                       for px in (0.5, 0.2))  # fmt: skip
        assert 0.25 < rough.metres_per_px <= 0.5 < 2 * rough.metres_per_px
        assert fine.metres_per_px <= 0.2
        assert server.asked == [], "a plan asks a server of tiles nothing"


def test_imagery_too_coarse_is_told_before_it_is_fetched(tmp_path):
    with serving(XyzService()) as server, Downloads() as client:
        address = parse_address(server.address + "/{z}/{x}/{y}.png#zooms=0-15")
        demand = Demand(px_m=0.2, coarsest_px_m=0.6)
        plan = plan_fetch(address, AREA, demand, client, tmp_path)
        with pytest.raises(TooCoarse, match=r"2\.91 m per pixel there; 0\.6 m"):
            require_fine(plan, demand)
        assert server.asked == []


def test_a_zoom_that_the_server_has_not_is_told_after_a_few_tiles(tmp_path):
    with serving(XyzService(deepest=15)) as server:
        with pytest.raises(EmptyRegion, match="#zooms=0-17"):
            fetch(server.address + "/{z}/{x}/{y}.png", tmp_path)
        assert len(server.asked) <= 5
    assert list(tmp_path.rglob("*.png")) == []


def test_tiles_that_are_not_there_are_no_data_and_not_asked_for_again(tmp_path):
    def trouble(_count, asked):
        return Answer(b"", 404) if int(asked.path.split("/")[2]) % 2 else None

    with serving(XyzService(trouble=trouble)) as server:
        for _ in range(2):
            plan, paths = fetch(server.address + "/{z}/{x}/{y}.png", tmp_path)
        assert len(server.asked) == plan.pieces
    assert measure_error(paths)[0] <= 2.0


@pytest.mark.parametrize(
    "broken",
    [
        Answer(b"<html>wait</html>"),
        Answer(b"<ServiceExceptionReport><ServiceException>no</ServiceException></"
               b"ServiceExceptionReport>"),
        Answer(paint_tile(3, 1, 1)[:200]),
        Answer(status=500),
    ],
    ids=["page", "exception", "cut", "down"],
)  # fmt: skip
def test_after_nonsense_the_next_run_fetches_the_rest_and_nothing_twice(broken, tmp_path):
    service = XyzService(trouble=lambda count, _asked: broken if 5 < count < 60 else None)
    with serving(service) as server:
        address = server.address + "/{z}/{x}/{y}.png"
        with pytest.raises((BadAnswer, ServiceDown)):
            fetch(address, tmp_path)
        kept = len(list(tmp_path.rglob("tiles/*/*/*.png")))
        assert 0 < kept <= 5
        service.trouble = None
        begun = len(server.asked)
        plan, paths = fetch(address, tmp_path)
        assert len(server.asked) - begun == plan.missing == plan.pieces - kept
    assert measure_error(paths)[0] <= 2.0


def test_retry_after_holds_all_threads_and_ends_well(tmp_path):
    busy = Answer(status=429, headers={"Retry-After": "1"})
    service = XyzService(trouble=lambda count, _asked: busy if count in (4, 5) else None)
    with serving(service) as server:
        plan, paths = fetch(server.address + "/{z}/{x}/{y}.png", tmp_path)
        assert len(server.asked) == plan.pieces + 2
    assert measure_error(paths)[0] <= 2.0


def test_an_area_across_longitude_180_is_one_region(tmp_path):
    area = parse_box("179.999,-16.801,-179.999,-16.799")
    with serving(XyzService()) as server:
        plan, paths = fetch(server.address + "/{z}/{x}/{y}.png", tmp_path, area)
    xs = {int(path.split("/")[2]) for path in server.paths()}
    assert {0, 2 ** int(server.paths()[0].split("/")[1]) - 1} <= xs
    assert plan.pieces < 100
    with open_sources(paths) as imagery:
        _south, west, _north, east = imagery.info.bounds
        assert west > 179.99
        assert east < -179.99
        assert len(imagery.sheets) == 1


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ("13.3,52.5,13.3,52.6", "no inside"),
        ("5.9,47.3,15.0,55.1", r"The area has 5\d\d,\d\d\d km2"),
        ("13,52,13.7,52.4", r"2,1\d\d km2: [\d,]+ tiles, about \d+ GB and \d+ h"),
        ("-180,-90,180,90", "360 degrees"),
        ("52.5,13.3,52.4,13.4", r"359\.9 degrees"),  # across longitude 180, round the Earth
    ],
)
def test_a_box_of_nothing_or_of_a_country_is_refused_with_its_size(box, said, tmp_path):
    with serving(XyzService()) as server, pytest.raises(InvalidValue, match=said):
        fetch(server.address + "/{z}/{x}/{y}.png", tmp_path, parse_box(box), Demand(px_m=0.2))
    assert server.asked == []


def test_a_disk_too_small_is_told_before(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Free", (), {"free": 10}))
    with (
        serving(XyzService()) as server,
        pytest.raises(CannotWrite, match=r"GB are free where (?s:.*)CROSSVIEW_CACHE"),
    ):
        fetch(server.address + "/{z}/{x}/{y}.png", tmp_path)
    assert server.asked == []


def test_a_service_says_which_layers_it_has_and_where(tmp_path):
    def answer(asked):
        return answer_wms(asked, server.address, "1.3.0", "EPSG:3857")

    with serving(answer) as server:
        with pytest.raises(InvalidValue, match=r"several layers.*dop \(Ortho\), map"):
            fetch(server.address + "/wms?service=WMS", tmp_path)
        with pytest.raises(InvalidValue, match="no layer 'x'"):
            fetch(server.address + "/wms?service=WMS#x", tmp_path)
        with pytest.raises(EmptyRegion, match="no imagery in that area"):
            fetch(server.address + "/wms?service=WMS#dop", tmp_path, parse_box("1,1,1.01,1.01"))
        assert len(server.asked) == 1, "capabilities are kept"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>hello</html>", "no capabilities"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><WMS_Capabilities/>', "define entities"),
        (b"<ServiceExceptionReport>Exception: not today</ServiceExceptionReport>", "not today"),
        (b"<WMS_Capabilities version='1.3.0'>", "cannot be read as WMS"),
    ],
)
def test_capabilities_that_are_none_are_refused(content, said, tmp_path):
    with (
        serving(lambda _asked: Answer(content)) as server,
        pytest.raises(BadAnswer, match=said),
    ):
        fetch(server.address + "/wms?service=WMS#dop", tmp_path)


def test_what_a_service_says_of_its_terms_is_told(tmp_path):
    with serving(lambda asked: answer_wmts(asked, server.address)) as server:
        plan, paths = fetch(server.address + "/WMTSCapabilities.xml", tmp_path)
    assert plan.statement == "fees: none; access constraints: Licence of Paint 1.0"
    with open_sources(paths) as imagery:
        assert imagery.info.attribution == "Office of Paint"


def test_two_areas_share_the_tiles_that_both_need(tmp_path):
    half = parse_box("13.3700,52.5000,13.3720,52.5020")
    with serving(XyzService()) as server:
        address = server.address + "/{z}/{x}/{y}.png"
        fetch(address, tmp_path, half)
        second, _ = fetch(address, tmp_path)
        assert second.missing < second.pieces
        assert len(server.asked) == len(set(server.paths())) == second.pieces
    assert remote.WORKERS > 1
