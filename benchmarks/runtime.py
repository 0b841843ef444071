"""OpenVINO in bfloat16 and int8 against onnxruntime in float32 and timm's eager network, on a CPU.

    make bench NAME=runtime    about 15 minutes of one core, a town of 8,464 windows included

Speed: a ConvNeXt-T of random weights on 256-pixel tiles, and the packaged models; pictures are
windows of the town. A ratio of 2 means twice as many pictures a second of a processor. Places: the
town is indexed and its pictures are located in every arithmetic, so that queries and windows are
both computed in it; ``mixed`` asks the float32 index. What ``crossview`` itself measures
before it trusts an arithmetic (``drift``) stands beside that. The town is made unless it is there.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._towns import DemoTown, demo_towns
from benchmarks.harness import interleaved, ratio, report
from benchmarks.index import TILE_PX, _convnext
from crossview import build_index
from crossview.arrays import U8
from crossview.errors import ModelMismatch
from crossview.geo.points import LatLon, measure_distances_m
from crossview.index.store import Index
from crossview.localization.hints import Hints
from crossview.localization.locate import answer_queries, draw_views
from crossview.localization.queries import embed_queries, find_common_bearing, make_queries
from crossview.model import Model, open_model
from crossview.runtime import YARDSTICK, Arithmetic, list_processor_flags

FAST = (
    Arithmetic("openvino", "float32"),
    Arithmetic("openvino", "bfloat16"),
    Arithmetic("onnxruntime", "int8"),
    Arithmetic("openvino", "int8"),
)
RIGHT_M = 25.0
STRIDE_M = 8.0
TOGETHER = 8  # pictures of a call
ROUND_S = 0.8  # of a processor that the yardstick takes in a round, at least
TOLD = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}


def main() -> None:
    """Measure speed and places, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=200, help="of each kind")
    parser.add_argument("--towns", type=Path, default=Path("runs/world"), help="rendered or not")
    parser.add_argument("--no-places", action="store_true", help="speed alone")
    wanted = parser.parse_args()
    town = next(iter(demo_towns(wanted.towns, 1)))
    index = Index.open(town.index)
    ratios: dict[str, float] = {}
    medians: dict[str, float] = {}
    drifts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        for label in ("convnext_tiny", "town", "earth"):
            folder = _convnext(Path(name, label)) if label == "convnext_tiny" else label
            every = 5 if label == "convnext_tiny" else 1
            models = {}
            for a in (YARDSTICK, *FAST):
                try:
                    models[a] = settled(folder, a, index, (wanted.threads, every))
                except ModelMismatch as problem:
                    drifts[f"{label} {a}"] = f"refused: {str(problem).splitlines()[0]}"
                else:
                    drifts[f"{label} {a}"] = str(models[a].drift)
            speed(label, models, index, wanted, (ratios, medians))
        places = {} if wanted.no_places else find_places(town, Path(name), wanted)
    report(
        name="runtime",
        ratios=ratios,
        n=wanted.rounds,
        threads=wanted.threads,
        medians=medians,
        drift=drifts,
        places=places,
        processor=sorted(TOLD & list_processor_flags()),
    )


def settled(
    folder: Path | str, arithmetic: Arithmetic, index: Index, how: tuple[int, int]
) -> Model:
    """The model in an arithmetic, measured on windows of the town.

    ``how``: threads, and which of the sample: every second is 2.
    """
    threads, every = how
    model = open_model(folder, threads=threads, arithmetic=arithmetic)
    model.settle(str(index.path), lambda: draw_views(index, model.info.aerial)[::every])
    return model


def speed(
    label: str,
    models: Mapping[Arithmetic, Model],
    index: Index,
    wanted: Any,
    out: tuple[dict[str, float], dict[str, float]],
) -> None:
    """Time the aerial network in every arithmetic, in turns."""
    ratios, medians = out
    views = draw_views(index, models[YARDSTICK].info.aerial)[:TOGETHER]
    once: dict[str, Callable[[], object]] = {
        str(a): (lambda m=m: m.aerial(views)) for a, m in models.items()
    }
    if label == "convnext_tiny":
        once["eager"] = eager(views, wanted.threads)
    started = time.process_time()
    models[YARDSTICK].aerial(views)
    calls = max(1, round(ROUND_S / (time.process_time() - started)))
    candidates = {
        name: (lambda run=run: [run() for _ in range(calls)]) for name, run in once.items()
    }
    timings = interleaved(candidates, wanted.rounds)
    for name, timing in timings.items():
        medians[f"{label} {name} ms"] = 1e3 * timing.median_cpu_s / len(views) / calls
        for peer in {"eager", str(YARDSTICK)} & (candidates.keys() - {name}):
            short = "eager" if peer == "eager" else "float32"
            key = f"{label}_{name.replace(' by ', '_')}_vs_{short}"
            ratios[key] = ratio(timing.cpu_s, timings[peer].cpu_s)
        print(f"{label:14} {name:24} {medians[f'{label} {name} ms']:8.2f} ms", file=sys.stderr)


def eager(views: U8, threads: int) -> Callable[[], object]:
    """The network of ``_convnext`` as timm runs it."""
    import timm
    import torch

    torch.set_num_threads(threads)
    trunk = timm.create_model("convnext_tiny", num_classes=0).eval()

    def run() -> Any:
        with torch.inference_mode():
            pixels = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 127.5 - 1.0
            return torch.nn.functional.normalize(trunk(pixels), dim=1)

    assert views.shape[1:3] == (TILE_PX, TILE_PX)
    return run


def find_places(town: DemoTown, folder: Path, wanted: Any) -> dict[str, dict[str, float]]:
    """Shares of first places within 25 m, by kind of picture and arithmetic."""
    with town.places.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["fov_deg"] in {"360", "90"}]
    kinds = sorted({row["kind"] for row in rows})
    rows = [row for kind in kinds for row in select(rows, kind)[: wanted.pictures]]
    truth = [LatLon(float(row["lat"]), float(row["lon"])) for row in rows]
    exact = open_model("town", threads=wanted.threads)
    index = Index.open(town.index)
    bearing = find_common_bearing(index, exact.info.azimuth_bins)
    paths = [town.places.parent / row["file"] for row in rows]
    hints = [Hints(ignore_direction=True)] * len(rows)
    queries = list(make_queries(paths, hints, exact, bearing))
    shares: dict[str, dict[str, float]] = {}
    for arithmetic in (YARDSTICK, FAST[1], FAST[3]):
        model, made = exact, index
        if arithmetic != YARDSTICK:
            model = settled("town", arithmetic, index, (wanted.threads, 1))
            out = folder / f"{arithmetic.precision}.cvx"
            made = build_index(town.aerial, out, model, stride_m=STRIDE_M)
        asked = list(embed_queries(queries, model))
        runs = {str(arithmetic): made}
        if arithmetic.precision == "int8":
            runs["mixed"] = index
        for name, searched in runs.items():
            answers = answer_queries(searched, model, asked)
            hits = [
                measure_distances_m(
                    here, *np.array([[a.places[0].latlon.lat], [a.places[0].latlon.lon]])
                )[0]
                <= RIGHT_M
                for a, here in zip(answers, truth, strict=True)
            ]
            shares[name] = {
                kind: float(np.mean([h for h, row in zip(hits, rows, strict=True)
                                     if row["kind"] == kind]))
                for kind in kinds
            }  # fmt: skip
            print(name, shares[name], file=sys.stderr)
    return shares


def select(rows: list[dict[str, str]], kind: str) -> list[dict[str, str]]:
    """The rows of one kind of picture."""
    return [row for row in rows if row["kind"] == kind]


if __name__ == "__main__":
    main()
