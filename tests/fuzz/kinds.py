"""Every kind of file that crossview reads from others: whole ones, and how they are read.

``make`` writes whole files into a folder; ``read`` opens them as the commands do, and gives what
came of it. One file of the folder is damaged at a time.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import av
import numpy as np
import pytest
import torch
from PIL import Image
from rasterio.shutil import copy as copy_raster
from safetensors.torch import save_file
from tests.crashes import verbs
from tests.datasets import twins
from tests.hub_server import Hub, serving_hub, use_hub
from tests.imagery.georeferenced import BERLIN, geotiff, mbtiles, pmtiles, tiles_around, xyz_folder
from tests.imagery.map_services import BOX, paint, write_wms, write_wmts
from tests.imagery.test_elevations import PLACE, write_raster
from tests.index.regions import meadow
from tests.reports.made_up import evaluation
from tests.street.test_gathering import TWINS, some
from tests.tiny_pairs import write_pairs
from tests.toy_embedder import toy_info
from tests.training.tiny import PAGE, request, trained

from crossview import catalogue, region_model
from crossview.datasets import cvact, pair_lists
from crossview.downloads import Reply
from crossview.errors import BadAnswer, BadData, BadIndex, NotOnServer, TooCoarse
from crossview.evaluation.evaluation_record import Evaluation
from crossview.evaluation.task import Rules, make_task
from crossview.evaluation.vectors import read_embeddings, read_ranking
from crossview.explain.masks import draw_courses
from crossview.files import printable
from crossview.geo.grids import RasterGrid, convert_to_latlon
from crossview.geo.perimeters import parse_box, parse_perimeter, read_perimeter
from crossview.hub import HubName, compare_sums, find_pulled, read_card
from crossview.imagery.addresses import StacAddress, parse_address
from crossview.imagery.elevations import read_surface
from crossview.imagery.remote import Demand, plan_fetch
from crossview.imagery.sources import open_sources
from crossview.imagery.stac import plan_pictures
from crossview.imagery.tile_grids import GridFacts, TileGrid
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index.index_options import is_coarse
from crossview.index.store import Embedded, Index
from crossview.index.units import SharedUnits, read_order
from crossview.index.workers import WorkerOptions, open_ordered, require_alike
from crossview.localization.accuracy import Truths
from crossview.localization.locate import locate, open_index_model, require_ready
from crossview.localization.track import read_odometry
from crossview.model import check_folder, open_model, pull_model
from crossview.networks.weight_files import digest_tensors, fill_network
from crossview.pairs import official_lists
from crossview.pairs.cache import fill_cache, open_cache
from crossview.pairs.reading import Files
from crossview.reports.report_tables import format_results_csv, format_significance_csv
from crossview.reports.results import group_sweeps, sort_into_trials
from crossview.reports.significance import compare_runs
from crossview.reports.trust import read_calibrations
from crossview.schema import parse_object
from crossview.service.access import create_key, read_keys
from crossview.street import box_search, gathering, own_photos, pairing
from crossview.street.own_photos import read_tracks
from crossview.studies.study import read_result
from crossview.training.export import run_info
from crossview.training.import_weights import read_checkpoint
from crossview.training.session import fit, prepare, start_state
from crossview.training.train_state import load_weights, read_saved_step
from crossview.views import video
from crossview.views.decode import load_photo, read_picture_size
from crossview.worlds.write import write_photo

GB = 1 << 30
MB = 1 << 20


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    ``same``: what is read is either refused or as it was; no damage may change it silently.
    ``seconds`` of processor time and ``memory_bytes`` beyond the start bound the reading of one.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    damaged: tuple[str, ...] = ("*",)  # which files
    same: bool = False
    seconds: float = 10.0
    memory_bytes: int = 600 * MB


def make_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (96, 160, 3)).astype(np.uint8)
    write_photo(folder / "a.jpg", pixels, 70.0)
    write_photo(folder / "b.jpg", np.ascontiguousarray(pixels[:80]), 360.0)
    exif = Image.Exif()
    exif[0x0112] = 6
    gps = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 0.0), 16: "T", 17: 123.0}
    exif.get_ifd(0x8825).update(gps)
    exif.get_ifd(0x8769).update({0x920A: 24.0, 0xA405: 35, 0xA20E: 4000.0, 0xA210: 3})
    image = Image.fromarray(pixels)
    image.save(folder / "c.jpg", exif=exif, progressive=True)
    image.save(folder / "d.png", exif=exif)
    image.save(folder / "e.webp", exif=exif)
    image.save(folder / "f.tif", compression="tiff_lzw")
    image.save(folder / "g.gif")
    image.save(folder / "h.bmp")
    image.save(folder / "i.avif", exif=exif)
    image.save(folder / "j.jp2")
    image.save(folder / "k.ppm")


def read_photos(folder: Path, name: str = "") -> Any:
    photo = load_photo(folder / name)
    size = read_picture_size(folder / name)
    return photo.pixels.shape, photo.fov_deg, photo.gps, photo.heading, size


def make_rasters(folder: Path) -> None:
    picture = meadow(96, 120)
    geotiff(folder / "a.tif", picture, tags={"TIFFTAG_COPYRIGHT": "x"}, compress="deflate")
    geotiff(folder / "b.tif", picture[..., 0].astype(np.uint16) * 90, nodata=0, tiled=True,
            blockxsize=64, blockysize=64)  # fmt: skip
    geotiff(folder / "c.tif", picture, compress="jpeg", photometric="ycbcr")


def read_imagery(folder: Path, name: str = "") -> Any:
    with open_sources([folder / name]) as imagery:
        if is_coarse(imagery.info, replace(toy_info().aerial, footprint_m=160.0)):
            raise TooCoarse("as index says, before it reads")
        windows = cut_windows(imagery, Tiling(footprint_m=20.0, stride_m=20.0))
        for window, _ in zip(windows, range(4), strict=False):
            window.pixels.mean()
        return imagery.info.bounds


def make_beside(folder: Path) -> None:
    """A picture with its place beside it."""
    (folder / "sheet").mkdir()
    Image.fromarray(meadow(64, 64)).save(folder / "sheet" / "a.png")
    (folder / "sheet" / "a.pgw").write_text("0.5\n0\n0\n-0.5\n391000.25\n5819999.75\n")
    from pyproj import CRS

    (folder / "sheet" / "a.prj").write_text(CRS("EPSG:25833").to_wkt("WKT1_ESRI"))


def read_beside(folder: Path, name: str = "") -> Any:
    return read_imagery(folder, "sheet")


def make_mbtiles(folder: Path) -> None:
    tiles, _ = tiles_around(BERLIN, 17, 2)
    mbtiles(folder / "a.mbtiles", tiles, 17, format="png", name="x", minzoom="17", maxzoom="17")


def make_pmtiles(folder: Path) -> None:
    tiles, _ = tiles_around(BERLIN, 17, 2)
    pmtiles(folder / "a.pmtiles", tiles, 17, attribution="x", name="y")


def make_tms(folder: Path) -> None:
    """A folder of tiles with its description beside."""
    tiles, _ = tiles_around(BERLIN, 17, 2)
    xyz_folder(folder / "tiles", tiles, 17)
    (folder / "tiles" / "tilemapresource.xml").write_text(
        '<?xml version="1.0"?><TileMap version="1.0.0"><Title>x</Title><SRS>EPSG:900913</SRS>'
        '<TileFormat width="64" height="64" mime-type="image/png" extension="png"/>'
        '<TileSets profile="mercator"><TileSet href="17" order="17" '
        'units-per-pixel="4.777314267823516"/></TileSets></TileMap>'
    )


def read_tms(folder: Path, name: str = "") -> Any:
    return read_imagery(folder, "tiles")


def make_table(folder: Path) -> None:
    """A CSV of images."""
    for name in "ab":
        Image.fromarray(meadow(64, 64)).save(folder / f"{name}.png")
    (folder / "images.csv").write_text(
        "file,lat,lon,metres_per_px,up_bearing_deg,attribution,date\n"
        "a.png,52.52,13.4,0.5,0,me,2020\nb.png,52.53,13.4,0.5,10,me,2021\n"
    )


def read_table(folder: Path, name: str = "") -> Any:
    return read_imagery(folder, "images.csv")


def make_heights(folder: Path) -> None:
    """Heights above the ground around a place, as a raster of GDAL's."""
    surface = np.zeros((120, 120))
    surface[40:60, 50:80] = 11.0
    for name, values in (("above.tif", surface), ("surface.tif", surface + 310.0)):
        write_raster(folder / name, values, 1.0, nodata=-9999.0)


def read_raster_of_heights(folder: Path, name: str = "") -> Any:
    """As an index does that is given heights."""
    grid = RasterGrid.around(PLACE, 1.0, (64, 64), 10.0)
    found = [read_surface(folder / file, grid) for file in ("above.tif", "surface.tif")]
    return [float(np.nanmax(surface.above_ground_m)) for surface in found]


def make_index(folder: Path) -> None:
    """A calibrated index, its model and a photo."""
    with _inside(folder):
        verbs.index_with_photos()
        if verbs.calibrate():
            raise RuntimeError("not calibrated")
        for name in ("a.tif", "b.tif", "measured.json", "reliability.png", "places.csv"):
            Path(name).unlink()
        for number in range(1, 20):
            Path(f"photos/{number:02d}.png").unlink()


def read_index(folder: Path, name: str = "") -> Any:
    index = Index.open(folder / "region.cvx")
    vectors = hashlib.sha256()
    for _, block in index.blocks():
        vectors.update(np.ascontiguousarray(block))
    places = (index.lat.tolist(), index.lon.tolist())
    thumbnails = [index.thumbnail(row) for row in range(0, index.count, 7)]
    return index.manifest, vectors.hexdigest(), places, thumbnails


def make_units(folder: Path) -> None:
    """An index that is being built: the order, a finished unit, the lease of another one."""
    with _inside(folder):
        verbs.begun()
        units = SharedUnits(Path("region.cvx.partial"), read_order(Path("region.cvx.partial")))
        vectors = np.eye(4, dtype=np.float32)
        units.finish(
            units.order.units[0], Embedded(vectors, np.zeros((4, 3)), [b"jpeg"] * 4, "0" * 64)
        )
        units.claim()


def read_units(folder: Path, name: str = "") -> Any:
    """As a worker that joins, and as who puts the units together."""
    order = read_order(folder / "region.cvx.partial")
    if order is None:
        raise BadIndex("no order")
    units = SharedUnits(folder / "region.cvx.partial", order)
    claimed = units.claim()
    with open_ordered(order, WorkerOptions(sources=[folder / "a.tif"], threads=1)) as job:
        require_alike(order, job, folder)
    return claimed, units.count_done(), units.holds_windows()


def read_model(folder: Path, name: str = "") -> Any:
    """As locate does: the model is compared with the fingerprint that the index remembers."""
    index = Index.open(folder / "region.cvx")
    model = open_index_model(str(folder / "model"), index.path, threads=1)
    require_ready(index, model)
    answer = locate(index, folder / "photos" / "00.png", embedder=model)
    return repr(answer)


def make_model(folder: Path) -> None:
    with _inside(folder):
        verbs.imagery()
        Path("a.tif").unlink()
        Path("b.tif").unlink()


def read_lone_model(folder: Path, name: str = "") -> Any:
    """As index and export do: there is no fingerprint to compare it with."""
    model = open_model(folder / "model", threads=1)
    spec = model.info.ground
    model.ground(np.zeros((1, spec.height_px, spec.width_px, 3), np.uint8))


def make_pulled(folder: Path) -> None:
    """A model that was pulled: its record, and its files in the cache of the hub's library."""
    with _inside(folder):
        verbs.model_to_pull()
        with pytest.MonkeyPatch.context() as patch, serving_hub() as hub:
            use_hub(patch, hub, folder)
            hub.add("a/toy", {path.name: path.read_bytes() for path in Path("model").iterdir()})
            pull_model(HubName("a", "toy"))
        shutil.rmtree("model")


def read_pulled(folder: Path, name: str = "") -> Any:
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, Hub(), folder)
        pulled = find_pulled(HubName("a", "toy"))
        return None if pulled is None else open_model(pulled.folder, threads=1).fingerprint


def make_published(folder: Path) -> None:
    with _inside(folder):
        verbs.published()


def read_published(folder: Path, name: str = "") -> Any:
    """As pull does with a folder that it has fetched."""
    place = folder / "folder"
    card = read_card(place)
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.iterdir()}
    compare_sums(place, hashes)
    check_folder(place)
    return card is not None


def make_run(folder: Path) -> None:
    with _inside(folder):
        verbs.trained()
        shutil.copytree("run", "other")


def read_run(folder: Path, name: str = "") -> Any:
    run = catalogue.open_run(folder / "run", str(PAGE))
    run_info(run.folder, run.views, 16)
    model = run.page.build(run.config)
    load_weights(model, run.folder.weights)
    read_saved_step(run.folder.state)
    run.folder.info()
    run.folder.entries()
    draw_courses(folder / "courses.png", [folder / "run", folder / "other"])
    return digest_tensors(model.state_dict(), {})


def resume_run(folder: Path, name: str = "") -> Any:
    """Going on with a training, or finding that it is done."""
    wanted = request(folder, out="run", places=12)
    session = prepare(wanted)
    for _ in fit(session, start_state(session)):
        pass


def make_resumable(folder: Path) -> None:
    trained(request(folder, out="run", places=12))


def make_checkpoints(folder: Path) -> None:
    state = {f"module.layers.{n}.weight": torch.randn(4, 3) for n in range(6)}
    torch.save({"epoch": 3, "model_state_dict": state, "note": "x"}, folder / "a.pth")
    torch.save(state, folder / "b.pth", _use_new_zipfile_serialization=False)
    save_file({name: value.half() for name, value in state.items()}, folder / "c.safetensors")


def read_weights(folder: Path, name: str = "") -> Any:
    checkpoint = read_checkpoint(folder / name)
    for tensor in checkpoint.tensors.values():
        tensor.float().sum()
    network = torch.nn.Module()
    network.layers = torch.nn.ModuleList(torch.nn.Linear(3, 4, bias=False) for _ in range(6))
    fill_network(network, folder / name)


def make_pairs(folder: Path) -> None:
    write_pairs(folder, 6, extra={"split": "test", "fov_deg": 90, "kind": "perspective"})
    (folder / "pairs.json").write_text(
        json.dumps(
            {
                "training_data": "x",
                "licence": "y",
                "synthetic": True,
                "notes": "z",
                "keep_rows": [0.25, 0.75],
            }
        )
    )
    with (folder / "ranking.csv").open("w", newline="") as stream:
        rows = [("query", "reference", "score")]
        rows += [(f"g{q}.png", f"a{r}.png", q / 7 + r) for q in range(6) for r in range(6)]
        csv.writer(stream).writerows(rows)
    (folder / "places.csv").write_text(
        "file,lat,lon,heading_deg\n" + "".join(f"g{n}.png,52.{n},13.4,{n}\n" for n in range(6))
    )


def read_pairs(folder: Path, name: str = "") -> None:
    if name == "places.csv":
        Truths.read(folder / name).photos()
        return
    data = catalogue.open_data(f"pairs:{folder / 'pairs.csv'}")
    table = data.tables["test"] if "test" in data.tables else next(iter(data.tables.values()))
    task = make_task(table, data.name, "test", Rules())
    read_ranking(task, folder / "ranking.csv")


def make_videos(folder: Path) -> None:
    """Half a second of noise that moves, in three containers."""
    scene = np.random.default_rng(0).integers(0, 256, (6, 20, 3)).astype(np.uint8)
    scene = scene.repeat(16, axis=0).repeat(16, axis=1)
    for name in ("a.mp4", "b.mkv", "c.avi"):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            pictures = [scene[:, 8 * n : 8 * n + 128] for n in range(5)]
            frames = [av.VideoFrame.from_ndarray(p, format="rgb24") for p in pictures]
            for frame in [*frames, None]:
                for packet in stream.encode(frame):
                    container.mux(packet)


def read_video_file(folder: Path, name: str = "") -> None:
    """As the package does, in this process: those of the fuzz harness are limited, too."""
    chooser = video._Chooser(str(folder / name), name, video.FrameOptions(every_s=0.1, moved=0.0))
    while not chooser.go_on().is_last:
        pass


def make_way(folder: Path) -> None:
    (folder / "odometry.csv").write_text("metres,turn_deg,metres_sigma\n9.5,10,1\n8,,\n")
    points = "".join(
        f'<trkpt lat="52.{n}" lon="13.4"><time>2024-05-01T12:00:0{n}Z</time><hdop>1</hdop></trkpt>'
        for n in range(6)
    )
    (folder / "way.gpx").write_text(f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")


def read_way(folder: Path, name: str = "") -> None:
    if name == "odometry.csv":
        read_odometry(folder / name)
    else:
        read_tracks([folder / name])


def make_official(folder: Path) -> None:
    twins.cvusa(folder / "cvusa")
    twins.vigor(folder / "vigor")
    twins.university(folder / "university")


OFFICIAL = {"cvusa": "cvusa", "vigor": "vigor-same", "university": "university-1652"}


def read_official(folder: Path, name: str = "") -> None:
    data = name.partition("/")[0]
    catalogue.open_data(f"{OFFICIAL[data]}:{folder / data}")


def make_matlab(folder: Path) -> None:
    twins.cvact(folder)
    from scipy.io import loadmat, savemat

    held = {k: v for k, v in loadmat(folder / "ACT_data.mat").items() if not k.startswith("__")}
    savemat(folder / "ACT_data.mat", held, do_compression=True)


def read_matlab(folder: Path, name: str = "") -> None:
    """As the package does, but in a fork instead of a new interpreter, which takes long."""
    official_lists.read_apart = _read_in_a_fork
    official_lists._MATLAB_BYTES = resource.getrlimit(resource.RLIMIT_AS)[0]
    cvact.load(folder)


def _read_in_a_fork(path: Path) -> tuple[int, bytes]:
    out = path.with_suffix(".told")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
        status = 70
        try:
            status = official_lists.print_matlab(str(path))
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, out.read_bytes()


def make_calibration(folder: Path) -> None:
    with _inside(folder):
        verbs.index_with_photos()
        if verbs.calibrate():
            raise RuntimeError("not calibrated")
        for path in Path().iterdir():
            if path.name != "measured.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_calibration(folder: Path, name: str = "") -> Any:
    (named,) = read_calibrations([folder / "measured.json"])
    return asdict(named.calibration)


def make_evaluation(folder: Path) -> None:
    evaluation("a", count=40).write(folder / "a")
    evaluation("b", count=40).write(folder / "b")


def read_evaluation(folder: Path, name: str = "") -> Any:
    """What a report shows of the records, without its charts."""
    trials = sort_into_trials([Evaluation.read(folder / label) for label in "ab"])
    compared = compare_runs(trials, 0)
    format_results_csv(trials, group_sweeps(trials))
    format_significance_csv(compared)


def make_vectors(folder: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 8)).astype(np.float32)
    np.save(folder / "a.npy", vectors)
    np.savez(
        folder / "b.npz", vectors=vectors, ids=[f"g{n}.png" for n in range(6)], fingerprint="x"
    )
    np.savez_compressed(folder / "c.npz", vectors=vectors, ids=np.arange(6))


def read_vectors(folder: Path, name: str = "") -> Any:
    return len(read_embeddings(folder / name).ids)


def make_cache(folder: Path) -> None:
    write_pairs(folder / "data", 3)
    _read_cache(folder)


def _read_cache(folder: Path) -> Any:
    table = pair_lists.load(folder / "data" / "pairs.csv")["train"]
    page = catalogue.method_page(str(PAGE)).load()
    views = page.views(page.Config(ground_px=(8, 32), aerial_px=16))
    files = Files(table, views)
    for _ in fill_cache(folder / "cache", files, 0):
        pass
    cache = open_cache(folder / "cache", files)
    return [cache.ground(0)[0].tobytes(), cache.aerial(0)[0].tobytes()]


def read_cache(folder: Path, name: str = "") -> Any:
    return _read_cache(folder)


def make_small(folder: Path) -> None:
    """Small JSON files of ours."""
    create_key(folder / "keys.json", "a")
    with _inside(folder):
        verbs.pairs()
        if verbs.study_():
            raise RuntimeError("no study")
        shutil.copytree("runs/tiny/narrow-1", "narrow-1")
        shutil.rmtree("runs")
        shutil.rmtree("tables")


def read_small(folder: Path, name: str = "") -> Any:
    read_keys(folder / "keys.json")
    read_result(folder / "narrow-1")
    return None


def make_areas(folder: Path) -> None:
    """Polygons to search in."""
    ring = [[13.39, 52.51], [13.41, 52.51], [13.41, 52.53], [13.39, 52.53], [13.39, 52.51]]
    hole = [[13.395, 52.515], [13.395, 52.52], [13.4, 52.52], [13.395, 52.515]]
    one = {"type": "Polygon", "coordinates": [ring, hole]}
    across = [[[179.9, -17.0], [-179.9, -17.0], [-179.9, -16.9], [179.9, -17.0]]]
    several = {"type": "MultiPolygon", "coordinates": [[ring, hole], across]}
    features = [{"type": "Feature", "properties": {"a": 1}, "geometry": g} for g in (one, several)]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    whole = {"type": "FeatureCollection", "crs": crs, "features": features}
    for name, content in (("a.geojson", one), ("b.geojson", several), ("c.geojson", whole)):
        (folder / name).write_text(json.dumps(content))


def read_area(folder: Path, name: str = "") -> Any:
    """As locate --area does, and what it tells of a search that finds nothing."""
    area = read_perimeter(folder / name)
    lat, lon = np.linspace(52.5, 52.54, 50), np.linspace(13.38, 13.42, 50)
    area.contains(lat, lon)
    area.measure_distance_m(lat, lon)
    if (swapped := area.swap()) is not None:
        swapped.contains(lat, lon)
    return json.dumps(area.to_geojson(), allow_nan=False)


def make_catalogue(folder: Path) -> None:
    """Answers of a STAC catalogue, and the picture that they name."""
    west, south, east, north = 13.37, 52.5, 13.43, 52.54
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature", "id": "a", "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": "2023-05-06T10:00:00Z", "eo:cloud_cover": 3.5},
        "assets": {"visual": {"href": "picture.tif", "roles": ["visual", "data"],
                              "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                              "eo:bands": [{"common_name": n} for n in ("red", "green", "blue")]}},
        "links": [{"rel": "collection", "href": "collection.json"}],
    }  # fmt: skip
    page = {"type": "FeatureCollection", "features": [item],
            "links": [{"rel": "next", "href": "more.json"}]}  # fmt: skip
    collection = {
        "type": "Collection", "license": "other", "providers": [
            {"name": "Some Survey", "roles": ["producer"]}],
        "links": [{"rel": "license", "href": "https://survey.example/terms", "title": "Terms"}],
    }  # fmt: skip
    for name, answer in (("search.json", page), ("more.json", {**page, "links": []}),
                         ("collection.json", collection)):  # fmt: skip
        (folder / name).write_text(json.dumps(answer))
    geotiff(folder / "plain.tif", meadow(300))
    copy_raster(folder / "plain.tif", folder / "picture.tif", driver="COG", compress="deflate")
    (folder / "plain.tif").unlink()


def read_catalogue(folder: Path, _name: str = "") -> Any:
    """As a verb that is given the address of a search does: planned, fetched, opened."""
    kept = _KeptAnswers(folder)
    address = StacAddress(url="https://catalogue.example/search.json")
    lat, lon = convert_to_latlon("EPSG:32633", [391_050.0, 391_150.0], [5_819_880.0, 5_819_980.0])
    (west, east), (south, north) = lon.tolist(), lat.tolist()
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    area = parse_perimeter({"type": "Polygon", "coordinates": [ring]})
    with TemporaryDirectory() as out:
        job, terms, notes = plan_pictures(address, area, 1.0, kept, Path(out))  # type: ignore[arg-type]
        paths = job.fetch(kept, lambda _done, _total: None)  # type: ignore[arg-type]
        with open_sources(paths) as imagery:
            return terms, notes, [sheet.metres_per_px for sheet in imagery.sheets]


def make_services(folder: Path) -> None:
    """Capabilities of a WMTS and two WMS, and fetched tiles that say which grid they lie on."""
    (folder / "wmts.xml").write_bytes(write_wmts("https://maps.example"))
    for version in ("1.1.1", "1.3.0"):
        content = write_wms("https://maps.example", version, "EPSG:25833")
        (folder / f"wms {version}.xml").write_bytes(content)
    grid = TileGrid(crs="EPSG:25833", left=390_000.0, top=5_820_000.0, unit_per_px=0.5, tile_px=256)
    (folder / "tiles" / "0" / "3").mkdir(parents=True)
    (folder / "tiles" / "0" / "3" / "4.png").write_bytes(paint(grid.place((3, 4), (3, 4))))
    (folder / "tiles" / "tilegrid.json").write_text(GridFacts(grid=grid, date="2023").to_json())


def read_service(folder: Path, name: str = "") -> Any:
    """As a verb that is given the address of capabilities, or a folder that was fetched."""
    if name.endswith(".json"):
        with open_sources([folder / "tiles"]) as imagery:
            sheets = [sheet.store.shrunk(8, 8).pixels.mean() for sheet in imagery.sheets]
            return imagery.info.to_json(), sheets
    kind = "wmts" if name.startswith("wmts") else "wms"
    layer = "ortho" if kind == "wmts" else "dop"
    address = parse_address(f"{kind}:https://maps.example/{quote(name)}#{layer}")
    with TemporaryDirectory() as out:
        plan = plan_fetch(
            address, parse_box(BOX), Demand(px_m=0.5), _KeptAnswers(folder), Path(out)
        )  # type: ignore[arg-type]
        return plan.pieces, plan.terms, plan.statement


class _KeptAnswers:
    """Downloads of a server whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _find(self, url: str) -> Path:
        path = self._folder / Path(urlsplit(url).path).name
        if not path.is_file():
            raise NotOnServer(f"There is no {url[:100]!r}.")
        return path

    def read(self, url: str, **_asked: Any) -> Reply:
        return Reply(url, {}, self._find(url).read_bytes())

    def fetch(self, url: str, into: Path, *, check: Callable[[bytes], None], **_: Any) -> bool:
        content = self._find(unquote(url)).read_bytes()
        check(content)
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_bytes(content)
        return True

    def keep_secret(self, *_secrets: str) -> None:
        pass

    def open_ranges(self, url: str, _into: Path) -> Any:
        return self._find(url).open("rb")

    def conceal(self, text: object) -> str:
        return printable(str(text))


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as a command that was started there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def make_gathered(folder: Path) -> None:
    """What a gathering keeps of what a service told, and what services answer."""
    found = [one for twin in TWINS.values() for one in list_items(twin([]))]
    photos = [read(item) for read, item in found]
    listing = gathering.Listing(
        service="panoramax", address="https://a.example/api",
        area=parse_box("1,2,3,4").to_geojson(),
        listed=datetime(2026, 1, 1, tzinfo=UTC), photos=tuple(one for one in photos if one),
    )  # fmt: skip
    (folder / "gathering.json").write_text(json.dumps(listing.to_json()))
    gone = [{"photo": f"panoramax-{n}", "why": "it was deleted"} for n in range(5)]
    (folder / "gone.jsonl").write_text("".join(json.dumps(one) + "\n" for one in gone))
    for name, twin in TWINS.items():
        items = [item for _, item in list_items(twin([]))]
        (folder / f"{name}.answer").write_text(json.dumps({"items": items}))


def make_photo_list(folder: Path) -> None:
    """Photos, the list that places them, and the report of their pairs."""
    with _inside(folder):
        verbs.taken_photos()
        if verbs.pairs_():
            raise RuntimeError("not paired")


def read_photo_list(folder: Path, name: str = "") -> Any:
    """As pairs does; the report, too, of which others know whether the pairs are whole."""
    own = own_photos.read_own_photos([folder / "photos.csv"], own_photos.OwnPhotoOptions())
    report = pairing.read_report(folder / "mine" / pairing.REPORT_NAME)
    return [photo.key for photo in own.photos], len(report.pairs)


def make_region_steps(folder: Path) -> None:
    with _inside(folder):
        verbs.photographed()
        if verbs.region_():
            raise RuntimeError("no region was made")


def read_region_steps(folder: Path, name: str = "") -> Any:
    """What the steps have given; a step whose record is damaged would be done again."""
    records = {step: region_model.read_step(folder / "mine", step) for step in region_model.STEPS}
    if undone := [step for step, record in records.items() if not record.get("done")]:
        raise BadData(f"to be done again: {undone}")
    return records


def list_items(twin: Any) -> list[tuple[Callable[[Any], Any], dict[str, Any]]]:
    name = next(name for name, kind in TWINS.items() if isinstance(twin, kind))
    read = getattr(gathering, name).read_photo
    twin.address = "https://a.example"
    return [(read, twin.item(one)) for one in some(6)]


def read_gathered(folder: Path, name: str = "") -> Any:
    listing = gathering.read_listing(folder)
    return (listing and len(listing.photos)), sorted(gathering.read_gone(folder))


def read_answers(folder: Path, name: str = "") -> Any:
    read = []
    for service in TWINS:
        try:
            values = parse_object((folder / f"{service}.answer").read_bytes())
        except ValueError as problem:
            raise BadAnswer(str(problem)) from problem
        items = box_search.read_items(values, "items", service)
        read += [getattr(gathering, service).read_photo(item) for item in items]
    return [one and one.key for one in read]


KINDS = {
    "photo": Kind(make_photos, read_photos),
    "video": Kind(make_videos, read_video_file, seconds=20.0),
    "odometry, GPX track": Kind(make_way, read_way),
    "GeoTIFF": Kind(make_rasters, read_imagery),
    "world file, .prj": Kind(make_beside, read_beside, ("sheet/a.p[gr]*",)),
    "MBTiles": Kind(make_mbtiles, read_imagery),
    "PMTiles": Kind(make_pmtiles, read_imagery),
    "TMS description": Kind(make_tms, read_tms, ("tiles/*.xml",)),
    "list of images": Kind(make_table, read_table, ("*.csv",)),
    "raster of heights": Kind(make_heights, read_raster_of_heights),
    "index, calibrated": Kind(make_index, read_index, ("region.cvx/*",), same=True),
    "units of an index": Kind(make_units, read_units, ("region.cvx.partial/*",)),
    "manifest": Kind(make_index, read_model, ("region.cvx/manifest.json",), same=True),
    "model of an index": Kind(make_index, read_model, ("model/*",), same=True),
    "model": Kind(make_model, read_lone_model, ("model/*",)),
    "pulled model": Kind(make_pulled, read_pulled, ("crossview/models/*main.json",)),
    "published model": Kind(make_published, read_published, ("folder/*",)),
    "calibration": Kind(make_calibration, read_calibration, same=True),
    "run folder": Kind(make_run, read_run, ("run/*",), same=True),
    "run to resume": Kind(make_resumable, resume_run, ("run/*",), seconds=20.0),
    "checkpoint": Kind(make_checkpoints, read_weights),
    "pairs, ranking, places": Kind(make_pairs, read_pairs, ("*.csv", "*.json")),
    "official lists": Kind(make_official, read_official, ("*/*.csv", "*/*.txt", "*/*.json")),
    ".mat": Kind(make_matlab, read_matlab, ("*.mat",), seconds=20.0),
    "evaluation": Kind(make_evaluation, read_evaluation, ("a/*",)),
    "vectors": Kind(make_vectors, read_vectors),
    "cache": Kind(make_cache, read_cache, ("cache/*",)),
    "STAC catalogue, COG": Kind(make_catalogue, read_catalogue, ("*.json", "picture.tif")),
    "WMTS, WMS, tile grid": Kind(make_services, read_service, ("*.xml", "tiles/tilegrid.json")),
    "search area": Kind(make_areas, read_area),
    "gathered photos": Kind(make_gathered, read_gathered, ("gathering.json", "gone.jsonl")),
    "list of photos, report of pairs": Kind(
        make_photo_list, read_photo_list, ("photos.csv", "mine/report.json")
    ),
    "steps of a region": Kind(
        make_region_steps, read_region_steps, ("mine/steps/*.json",), same=True
    ),
    "answers on street photos": Kind(make_gathered, read_answers, ("*.answer",)),
    "keys, results": Kind(make_small, read_small, ("*.json", "narrow-1/result.json")),
}
