"""Every command that writes, on inputs small enough to be killed a thousand times.

A verb is a line of :data:`VERBS`: what lies in its folder before, and the command, which runs there
and names its files without a folder. Both are functions of this module, run by
:mod:`tests.crashes.trials` with the folder as the current one.
"""

from __future__ import annotations

import csv
import functools
import importlib
import json
import os
import pickle
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from tests.datasets import twins
from tests.hub_server import serving_hub, use_hub
from tests.imagery.map_services import XyzService
from tests.index.regions import region
from tests.onnx_functions import keep_onnx_functions
from tests.reports.made_up import evaluation
from tests.street.service_twins import PanoramaxTwin
from tests.street.test_gathering import some
from tests.street.test_pairing import texture, write_map
from tests.test_adaptation import SMALL as SMALL_NETWORK
from tests.test_adaptation import write_photo_from_above
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model
from tests.training.tiny import PAGE, SMALL
from tests.web_server import Asked

import crossview
from crossview import adaptation, catalogue, downloads, region_model
from crossview.cli import main
from crossview.demo import DemoSettings, run_demo
from crossview.geo.points import LatLon
from crossview.imagery import remote
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index import build
from crossview.index.index_options import IndexOptions
from crossview.localization import inbox, queries
from crossview.model import read_info
from crossview.networks.weight_files import digest_tensors
from crossview.street import gathering
from crossview.studies import running, study
from crossview.training import export
from crossview.training.run_folder import RunFolder
from crossview.training.train_state import save_weights
from crossview.views.aerial import make_aerial_view
from crossview.worlds import ortho_pairs, town_pairs
from crossview.worlds.town_pairs import TownPlan

# What commands import when they run: once, before the forks.
HEAVY = (
    "filelock", "httpx2", "huggingface_hub.hf_api",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "onnx",
    "onnxruntime", "onnxscript", "pydantic", "pyproj", "rasterio", "scipy.sparse", "scipy.stats",
    "timm", "torch._dynamo", "torch.onnx._internal.exporter._core", "typer", "rich.progress",
)  # fmt: skip
SIDE_M = 40.0  # of a window of the toy model
CONFIG = [f"--config={k}={list(v) if isinstance(v, tuple) else v}" for k, v in SMALL.items()]
TINY_STUDY = study.Study(
    name="tiny",
    title="A tiny study",
    question="Does width help?",
    method=str(PAGE),
    rows=(
        study.Row(name="narrow", says="narrow"),
        study.Row(name="wide", says="wide", settings={"width": 8}),
    ),
    towns={**SMALL, "steps": 4},
    against=(("narrow", "wide"),),
)


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    ``unfinished``: what may be there half done after a kill, for the next run to go on with;
    everything else that lies there then is whole: as before, or as at the end. ``together``:
    folders whose files are all as before, or all as at the end. ``times``: names of values (JSON)
    that say when or how long, and those that depend on them.
    """

    before: Callable[[], None]
    run: Callable[[], int]
    unfinished: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()  # files to which every run adds
    costly: bool = False  # takes seconds: fewer samples


def import_everything() -> None:
    """All of the package, and what it imports later."""
    for found in pkgutil.walk_packages(crossview.__path__, "crossview."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in HEAVY:
        importlib.import_module(name)
    keep_onnx_functions()
    queries.MANY_PHOTOS = queries.ANY_PHOTOS = (
        10**9
    )  # photos are decoded here: a fork of a fork starts no decoders
    Image.init()
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def typed(*words: object) -> int:
    """The exit status of a command."""
    return main([str(word) for word in words])


def done(*words: object) -> None:
    if status := typed(*words):
        raise RuntimeError(f"{words} ended with {status}")


def imagery() -> None:
    """A model and two pieces of imagery."""
    toy_model(Path("model"))
    region(Path(), "a.tif")
    region(Path(), "b.tif", seed=3)


def index() -> int:
    return typed("index", "a.tif", "--model", "model", "--out", "region.cvx", "--stride", 20)


def index_address() -> int:
    """Of tiles that a server without a socket gives, one after the other."""
    remote.WORKERS = 1
    os.environ[downloads.CACHE_VARIABLE] = "cache"
    service = XyzService()

    def ask(self: object, url: str, *_: object) -> downloads._Answer:
        answer = service(Asked(urlsplit(url).path, {}, {}))
        return downloads._Answer(answer.status, {}, answer.content, None)

    downloads.Downloads._ask_once = ask
    return typed(
        "index", "http://127.0.0.1:1/{z}/{x}/{y}.png", "--bbox", "13.37,52.5,13.3702,52.5001",
        "--accept-licence", "--model", "model", "--out", "region.cvx", "--stride", 40,
    )  # fmt: skip


def index_by_two() -> int:
    """This process and a fork of it; which of them embeds what differs from run to run."""
    return typed(
        "index", "a.tif", "--model", "model", "--out", "region.cvx", "--stride", 20,
        "--workers", 2, "--threads", 2,
    )  # fmt: skip


def begun() -> None:
    """An index of which nothing is embedded yet."""
    imagery()
    options = IndexOptions(stride_m=20.0)
    with build.open_job(["a.tif"], "model", options, SourceOptions()) as job:
        build.begin_units(Path("region.cvx.partial"), job)


def worker() -> int:
    return typed("worker", "region.cvx", "--threads", 1)


def indexed() -> None:
    imagery()
    if index():
        raise RuntimeError("no index")


def index_add() -> int:
    return typed("index", "b.tif", "--out", "region.cvx", "--add")


def index_overwrite() -> int:
    return typed(
        "index", "b.tif", "--model", "model", "--out", "region.cvx", "--stride", 20, "--overwrite"
    )


def changed() -> None:
    """An index of imagery of which the lower half is another one now."""
    indexed()
    with rasterio.open("a.tif") as before, rasterio.open("b.tif") as other:
        pixels, profile = before.read(), before.profile
        pixels[:, 200:] = other.read()[:, 200:]
    with rasterio.open("a.tif", "w", **profile) as raster:
        raster.write(pixels)


def index_replace() -> int:
    return typed("index", "a.tif", "--out", "region.cvx", "--replace", "--threads", 1)


def heights(name: str, metres: float) -> None:
    """A raster with a block, which covers the imagery and what lies around it."""
    surface = np.zeros((300, 300), np.float32)
    surface[140:160, 170:190] = metres
    with rasterio.open("a.tif") as above:
        x, y = above.transform * (above.width / 2, above.height / 2)
        corner = rasterio.transform.from_origin(x - 300.0, y + 300.0, 2.0, 2.0)
        with rasterio.open(
            name, "w", driver="GTiff", width=300, height=300, count=1, dtype="float32",
            crs=above.crs, transform=corner,
        ) as raster:  # fmt: skip
            raster.write(surface, 1)


def imagery_with_heights() -> None:
    imagery()
    heights("dsm.tif", 9.0)


def index_with_heights() -> int:
    return typed(
        "index", "a.tif", "--model", "model", "--out", "region.cvx", "--stride", 40,
        "--heights", "dsm.tif",
    )  # fmt: skip


def index_that_knows_heights() -> None:
    """An index, and other heights than those that it knows."""
    imagery_with_heights()
    if index_with_heights():
        raise RuntimeError("no index")
    heights("dsm.tif", 15.0)


def index_heights() -> int:
    return typed("index", "region.cvx", "--heights", "dsm.tif")


def index_with_photos() -> None:
    """An index, and panoramas that look like windows of it."""
    indexed()
    info = read_info(Path("model"))
    rng = np.random.default_rng(0)
    with open_sources([Path("a.tif")]) as sources:
        windows = list(cut_windows(sources, Tiling(footprint_m=SIDE_M, stride_m=20.0)))
    rows = [("file", "lat", "lon")]
    Path("photos").mkdir()
    for number, pick in enumerate(rng.choice(len(windows), 20, replace=False)):
        window = windows[pick]
        view = make_aerial_view(window.pixels, window.metres_per_px, info.aerial).astype(float)
        view += rng.normal(0, 30, view.shape)
        panorama = np.pad(np.clip(view, 0, 255), ((8, 8), (0, 0), (0, 0))).astype(np.uint8)
        Image.fromarray(panorama).save(f"photos/{number:02d}.png")
        rows.append((f"photos/{number:02d}.png", window.lat, window.lon))
    with Path("places.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def calibrate() -> int:
    return typed(
        "calibrate", "region.cvx", "--truth", "places.csv", "--coverage", 50,
        "--out", "measured.json", "--figure", "reliability.png",
    )  # fmt: skip


def locate() -> int:
    return typed(
        "locate", "photos", "--index", "region.cvx", "--out", "answers.geojson",
        "--map", "map.html", "--audit", "audit.jsonl", "--threads", 1,
    )  # fmt: skip


def track() -> int:
    return typed(
        "track", "photos", "--order", "name", "--index", "region.cvx", "--out", "way.gpx",
        "--map", "way.html", "--threads", 1,
    )  # fmt: skip


def arrived() -> None:
    """An index, and photos in a folder that is watched; one of them cannot be read."""
    index_with_photos()
    for number in range(3, 20):
        Path(f"photos/{number:02d}.png").unlink()
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")


def watch() -> int:
    """What is not watched once is never at its end."""
    inbox.SETTLE_S = 0.0
    status = typed(
        "locate", "--watch", "photos", "--once", "--index", "region.cvx", "--out",
        "answers.jsonl", "--map", "map.html", "--threads", 1, "--quiet",
    )  # fmt: skip
    answers = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    names = sorted(answer["file"]["name"] for answer in answers)
    return 0 if status in {0, 1} and names == ["00.png", "01.png", "02.png", "broken.jpg"] else 9


def located() -> None:
    """Answers of an earlier command lie there already."""
    index_with_photos()
    done("locate", "photos/00.png", "--index", "region.cvx", "--out", "answers.geojson",
         "--map", "map.html", "--audit", "audit.jsonl", "--threads", 1)  # fmt: skip


def pairs() -> None:
    write_pairs(Path("data"), 12)


def train() -> int:
    return typed(
        "train", "--method", PAGE, "--data", "pairs:data/pairs.csv", "--out", "run",
        "--device", "cpu", "--val-share", 0, "--save-every", 3, "--workers", 0, *CONFIG,
    )  # fmt: skip


def trained() -> None:
    pairs()
    if train():
        raise RuntimeError("no run")


def train_cached() -> int:
    return typed(
        "train", "--method", PAGE, "--data", "pairs:data/pairs.csv", "--out", "run",
        "--device", "cpu", "--workers", 0, "--cache", "cache", "--steps", 2, *CONFIG[:-1],
    )  # fmt: skip


def export_() -> int:
    """Tracing takes most of a trial: done once, and then only written again."""
    _trace_once()
    return typed("export", "run", "--out", "model", "--method", PAGE)


def exported() -> None:
    """A model of an earlier training lies where the next one is to go."""
    trained()
    if export_():
        raise RuntimeError("no model")
    shutil.rmtree("run")
    done(
        "train", "--method", PAGE, "--data", "pairs:data/pairs.csv", "--out", "run",
        "--device", "cpu", "--workers", 0, "--steps", 2, "--seed", 7, "--config=width=8",
        *(word for word in CONFIG if "width" not in word),
    )  # fmt: skip


def checkpoint() -> None:
    """A checkpoint as authors publish it, of a network small enough."""
    page = catalogue.method_page("sample4geo").load()
    config = page.Config(backbone="convnext_atto", weights="none")
    state = page.build(config).state_dict()
    names = {name: f"model.{name.split('.', 1)[1]}" for name in state if "." in name}
    tensors = {names.get(name, name): value for name, value in state.items()}
    torch.save(tensors, "theirs.pth")


def import_() -> int:
    return typed(
        "import", "sample4geo", "theirs.pth", "--trained-on", "cvusa", "--out", "run",
        "--config", "backbone=convnext_atto",
    )  # fmt: skip


def cache() -> int:
    return typed(
        "data", "cache", "--data", "pairs:data/pairs.csv", "--method", PAGE, "--out", "cache",
        "--workers", 0, *CONFIG[:-2],
    )  # fmt: skip


def twin() -> None:
    twins.cvusa(Path("CVUSA"))


def dedup() -> int:
    page = catalogue.benchmark("cvusa").page
    page.OFFICIAL, page.PICTURES = {"train": 6, "test": 3}, 9
    return typed("data", "dedup", "cvusa", "--root", "CVUSA", "--workers", 0)


def vectors() -> None:
    """Two programs' vectors of one test."""
    write_pairs(Path("data"), 12, extra={"split": "test"})
    rng = np.random.default_rng(0)
    near = rng.normal(size=(12, 16))
    np.savez("q.npz", vectors=near, ids=[f"g{n}.png" for n in range(12)])
    near = near + rng.normal(size=near.shape)
    np.savez("r.npz", vectors=near, ids=[f"a{n}.png" for n in range(12)])


def evaluate() -> int:
    return typed(
        "evaluate", "--query-embeddings", "q.npz", "--reference-embeddings", "r.npz",
        "--data", "pairs:data/pairs.csv", "--split", "test", "--out", "results",
    )  # fmt: skip


def evaluated() -> None:
    vectors()
    if evaluate():
        raise RuntimeError("no record")
    record = json.loads(Path("results/evaluation.json").read_text())
    Path("results/evaluation.json").write_text(json.dumps(record | {"label": "older"}))


def evaluate_fields() -> int:
    return typed(
        "evaluate", "run", "--data", "pairs:data/pairs.csv", "--split", "train", "--method", PAGE,
        "--fov", "360,180,90,70", "--workers", 0, "--device", "cpu", "--out", "results",
    )  # fmt: skip


def records() -> None:
    for label in "ab":
        evaluation(label).write(Path("records") / label)


def report() -> int:
    return typed("report", "records", "--out", "report")


def reported() -> None:
    records()
    done("report", "records", "--out", "report", "--title", "An older one")


def study_() -> int:
    def areas(*_: object) -> running.Areas:
        source = catalogue.open_data("pairs:data/pairs.csv")
        table = source.tables["train"]
        tests = {"same": table, "cross": table.take(range(6))}
        return running.Areas(
            data="made up", train=table, tests=tests, info=source.info, synthetic=True
        )

    study.find_study = lambda _: TINY_STUDY
    running.open_town_areas = areas
    return typed(
        "study", "tiny", "--seeds", 1, "--runs", "runs", "--out", "tables", "--workers", 0,
        "--device", "cpu",
    )  # fmt: skip


def world() -> int:
    return typed(
        "world", "--out", "town", "--side-m", 160, "--panoramas", 1, "--photos", 1, "--seed", 20003
    )


def photo_from_above() -> None:
    """A piece of imagery that worlds can be drawn on."""
    write_photo_from_above("city.tif")


def small_region() -> None:
    """Such a piece of imagery, and a network that has learned nothing."""
    photo_from_above()
    page = catalogue.method_page("compass").load()
    config = catalogue.make_config(page, SMALL_NETWORK)
    torch.manual_seed(2)
    run = RunFolder(Path("run"))
    run.begin({"method": "compass"}, {"training_data": "nothing", "synthetic": True})
    save_weights(page.build(config).state_dict(), run.weights)
    export.export(run, page, config, Path("base"))


def adapt() -> int:
    """Drawing and tracing take most of a trial: done once, and then only written again."""
    adaptation.TOWNS = TownPlan(
        styles=("suburb",), towns_per_style=1, pairs_per_town=12, validation_pairs_per_style=0,
        side_m=300.0,
    )  # fmt: skip
    adaptation.PAIRS_PER_HA, adaptation.LEAST_QUERIES = (4.0, 4.0), 8
    adaptation.MOST_STEPS, adaptation._EXPORT_S = 12, 0.0
    adaptation.CANDIDATES = (adaptation.GIVEN, adaptation.BOTH)
    adaptation.time_network = lambda base: (0.1, 0.001)
    _draw_once(town_pairs, "_render_town")
    _draw_once(ortho_pairs, "_render_tile")
    _trace_once()
    return typed("adapt", "city.tif", "--out", "mine", "--model", "base", "--workers", 1)


def _draw_once(module: Any, name: str) -> None:
    """Have a job's pictures drawn once; later runs save the same ones in the same order."""
    draw, save = getattr(module, name), module.save_picture

    @functools.wraps(draw)
    def replay(task: Any, folder: str, root: Path) -> Any:
        kept = _kept_beside(f"{root.name}-{folder}")
        if not kept.is_file():
            saved = list[tuple[str, Any, dict[str, Any]]]()

            def record(path: Path, rgb: Any, **how: Any) -> None:
                saved.append((str(path.relative_to(root)), rgb, how))
                save(path, rgb, **how)

            module.save_picture = record
            rows = draw(task, folder, root)
            module.save_picture = save
            _keep_beside(kept, pickle.dumps((saved, rows)))
            return rows
        saved, rows = pickle.loads(kept.read_bytes())
        for path, rgb, how in saved:
            save(root / path, rgb, **how)
        return rows

    setattr(module, name, replay)


def _trace_once() -> None:
    """Have the exporter trace a network of the same weights once."""
    trace = export._graph

    def recall(model: Any, side: str, *others: Any, **more: Any) -> bytes:
        kept = _kept_beside(f"{digest_tensors(model.state_dict(), {})}-{side}")
        if not kept.is_file():
            _keep_beside(kept, trace(model, side, *others, **more))
        return kept.read_bytes()

    export._graph = recall


def _kept_beside(name: str) -> Path:
    return Path.cwd().parent / "kept-beside" / name


def _keep_beside(path: Path, content: bytes) -> None:
    """Whole or not at all, as the run that keeps it may be killed."""
    path.parent.mkdir(exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


def photographed() -> None:
    """Imagery, and photos of it with the ground around them, in a list."""
    index_with_photos()
    shutil.rmtree("region.cvx")
    rows = [("ground", "aerial", "ground_lat", "ground_lon", "metres_per_px", "kind")]
    Image.new("RGB", (80, 80), "grey").save("above.png")
    with Path("places.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            rows.append((row["file"], "above.png", row["lat"], row["lon"], 0.5, "panorama"))
    with Path("pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def region_() -> int:
    region_model.LEAST_CALIBRATED, region_model.GOALS = 3, ((0.5,),)
    region_model.divide_photos = _divide_by_order
    return typed(
        "region", "--imagery", "a.tif", "--street", "pairs:pairs.csv", "--model", "model",
        "--no-training", "--stride", 20, "--out", "mine", "--threads", 1, "--yes",
    )  # fmt: skip


def _divide_by_order(lat: np.ndarray, *_: object, **__: object) -> region_model.Division:
    """Photos of so small a place do not lie apart."""
    first = np.arange(len(lat)) < len(lat) // 2 + 2
    return region_model.Division(
        adapting=first & False, calibrating=first, testing=~first, gap_m=0.0
    )


def world_from() -> int:
    """Drawing takes most of a trial: done once, and then only written again."""
    _draw_once(ortho_pairs, "_render_tile")
    return typed(
        "world", "--from", "city.tif", "--out", "worlds", "--keep", 0, "--workers", 1,
        "--pairs", 3, "--quiet",
    )  # fmt: skip


def taken_photos() -> None:
    """A map, and four photos of it that a list places."""
    region(Path(), "a.tif")
    with open_sources([Path("a.tif")]) as sources:
        windows = list(cut_windows(sources, Tiling(footprint_m=SIDE_M, stride_m=20.0)))
    rows = [("file", "lat", "lon", "heading_deg", "fov_deg")]
    for n, window in enumerate(windows[:: len(windows) // 4][:4]):
        blocks = np.random.default_rng(n).integers(60, 250, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(f"{n}.png")
        rows.append((f"{n}.png", window.lat, window.lon, 90 * n, 70))
    with Path("photos.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def pairs_() -> int:
    return typed(
        "pairs", "photos.csv", "--imagery", "a.tif", "--out", "mine", "--footprint", 30,
        "--keep-val", 0, "--keep-test", 0, "--workers", 0, "--quiet",
    )  # fmt: skip


def demo() -> int:
    small = DemoSettings(side_m=160.0, stride_m=30.0, pictures=1, extras=1)
    run_demo(small, Path("demo"))
    return 0


def published() -> None:
    """A model that says what a card needs, and a folder of an earlier publish."""
    toy_model(Path("model"), licence="MIT", training_data="toys")
    done("publish", "model", "--out", "folder", "--licence", "CC BY 4.0")


def publish() -> int:
    return typed("publish", "model", "--out", "folder")


def model_to_pull() -> None:
    toy_model(Path("model"), licence="MIT", training_data="toys")


def pull() -> int:
    """From a hub of this process. The cache of the hub's library is its own, beside the folder."""
    with pytest.MonkeyPatch.context() as patch, serving_hub() as hub:
        use_hub(patch, hub, Path(f"{os.getcwd()}-hub"))
        patch.setenv("CROSSVIEW_CACHE", "kept")
        hub.add("a/toy", {path.name: path.read_bytes() for path in Path("model").iterdir()})
        return typed("pull", "hub:a/toy")


def explain() -> int:
    return typed(
        "explain", "run", "--data", "pairs:data/pairs.csv", "--split", "train", "--out", "look",
        "--sample", 6, "--show", 1, "--device", "cpu", "--method", PAGE,
    )  # fmt: skip


def gather(*more: object) -> int:
    """From a service that answers without a socket, one picture after the other."""
    gathering.WORKERS = 1
    twin = PanoramaxTwin(some(6), address="http://127.0.0.1:1")
    twin.most = 4

    def ask(self: object, url: str, *_: object) -> downloads._Answer:
        parts = urlsplit(url)
        answer = twin(Asked(parts.path, dict(parse_qsl(parts.query)), {}))
        return downloads._Answer(answer.status, {}, answer.content, None)

    downloads.Downloads._ask_once = ask
    return typed(
        "gather", "--street", "panoramax:http://127.0.0.1:1", "--bbox", "13.37,52.5,13.38,52.506",
        "--out", "photos", "--most", 4, "--quiet", *more,
    )  # fmt: skip


def ground_of_photos() -> None:
    """Imagery of where the photos are."""
    write_map(Path("a.tif"), 25833, LatLon(52.5005, 13.3722), texture(1, 240, 480), 0.5)


def gather_pairs() -> int:
    return gather("--imagery", "a.tif", "--footprint", 30, "--workers", 0)


def gathered() -> None:
    """Two photos were gathered before, and more are wanted now."""
    if gather():
        raise RuntimeError("no photos")
    for path in Path("photos/photos").glob("*.jpg"):
        if path.name > "panoramax-p00001.jpg":
            path.unlink()
    Path("photos/photos.csv").unlink()


def nothing() -> None:
    """The command needs nothing."""


LOGS = ("steps_per_s", "waited_s")  # of a training, beside its seconds


def careless() -> int:
    """Writes as the package never should."""
    if Path("second.txt").exists():
        return 1
    Path("first.txt").write_text("first")
    Path("second.txt").write_text("second")
    return 0


VERBS = {
    "index": Verb(imagery, index, unfinished=("region.cvx.partial/*", "region.cvx/progress.json")),
    "index --workers": Verb(
        imagery, index_by_two, unfinished=("region.cvx.partial/*", "region.cvx/progress.json")
    ),
    "worker": Verb(begun, worker, unfinished=("region.cvx.partial/*",)),
    "index by address": Verb(
        imagery, index_address, times=("signature", "steps"),
        unfinished=("cache/*", "region.cvx.partial/*", "region.cvx/progress.json"),
    ),
    "index --add": Verb(
        indexed, index_add, unfinished=("region.cvx/segment-*", "region.cvx.adding/*")
    ),
    "index with heights": Verb(
        imagery_with_heights, index_with_heights, costly=True,
        unfinished=("region.cvx.partial/*", "region.cvx/progress.json"),
    ),
    "index --heights": Verb(
        index_that_knows_heights, index_heights, unfinished=("region.cvx/heights-*",), costly=True
    ),
    "index --replace": Verb(
        changed, index_replace, together=("region.cvx",),
        unfinished=("region.cvx.partial/*", "region.cvx/progress.json"),
    ),
    "index --overwrite": Verb(
        indexed, index_overwrite, together=("region.cvx",),
        unfinished=("region.cvx.partial/*", "region.cvx/progress.json"),
    ),
    "calibrate": Verb(index_with_photos, calibrate, together=("region.cvx",)),
    "locate": Verb(index_with_photos, locate, appended=("audit.jsonl",)),
    "track": Verb(index_with_photos, track),
    "locate again": Verb(located, locate, appended=("audit.jsonl",)),
    "locate --watch": Verb(arrived, watch, unfinished=("answers.jsonl",), times=("modified_us",)),
    "train": Verb(
        pairs, train, unfinished=("run/log.jsonl", "run/*.safetensors"), times=LOGS
    ),
    "train --cache": Verb(
        pairs, train_cached, unfinished=("run/log.jsonl", "run/*.safetensors", "cache/*"),
        times=LOGS,
    ),
    "export": Verb(trained, export_, together=("model",), costly=True),
    "export again": Verb(exported, export_, together=("model",), costly=True),
    "import": Verb(checkpoint, import_, together=("run",)),
    "data cache": Verb(pairs, cache, unfinished=("cache/*",)),
    "data dedup": Verb(twin, dedup),
    "evaluate": Verb(vectors, evaluate, together=("results",)),
    "evaluate again": Verb(evaluated, evaluate, together=("results",)),
    "evaluate --fov": Verb(trained, evaluate_fields),
    "report": Verb(records, report, together=("report",)),
    "report again": Verb(reported, report, together=("report",)),
    "study": Verb(
        pairs, study_, times=LOGS,
        unfinished=("runs/tiny/*/log.jsonl", "runs/tiny/*/*.safetensors", "tables/*"),
    ),
    "explain": Verb(trained, explain),
    "publish again": Verb(published, publish, together=("folder",)),
    "pull": Verb(model_to_pull, pull, times=("pulled", "endpoint")),
    "world": Verb(nothing, world, costly=True),
    "gather": Verb(
        nothing, gather, unfinished=("photos/photos/*", "photos/gone.jsonl"), times=("listed",)
    ),
    "gather again": Verb(
        gathered, gather, unfinished=("photos/photos/*", "photos/gone.jsonl"), times=("listed",)
    ),
    "gather --imagery": Verb(  # a request of pairs: of files, with their times
        ground_of_photos, gather_pairs, times=("listed", "request"),
        unfinished=(
            "photos/photos/*", "photos/windows/*", "photos/gone.jsonl", "photos/inspected.jsonl",
        ),
    ),
    "world --from": Verb(photo_from_above, world_from, unfinished=("worlds/*",), costly=True),
    "pairs": Verb(taken_photos, pairs_, unfinished=("mine/*",)),
    "adapt": Verb(
        small_region, adapt, unfinished=("mine.adapting/*",), together=("mine",), costly=True
    ),
    "region": Verb(
        photographed, region_, times=("steps",),
        unfinished=("mine/region.cvx.partial/*", "mine/region.cvx/*", "mine/steps/*"),
    ),
    "demo": Verb(
        nothing, demo, times=("signature", "steps"), costly=True,
        unfinished=("demo/*.partial/*", "demo/*.cvx/progress.json"),
    ),
}  # fmt: skip
CARELESS = Verb(nothing, careless)  # what the harness must find
