"""The whole index command against its network alone, on the same cores (key vs_network).

Two networks: a ConvNeXt-T of random weights on 256-pixel tiles, and the packaged model where there
is one (or ``--model FOLDER``). The command is a fresh process and pays for starting, reading,
cutting, thumbnails and writing; the network is measured in this process, loaded and warm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Timings, interleaved, ratio, report
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, count_windows, cut_windows
from crossview.index.build import batch_windows
from crossview.index.index_options import IndexOptions
from crossview.model import INFO_NAME, SHARED_NAME, ModelInfo, open_model, resolve_model
from crossview.views.spec import ViewSpec

TILE_PX = 256
FOOTPRINT_M = 80.0
STRIDE_M = 20.0
BATCH = IndexOptions().batch


def main() -> None:
    """Measure, tell the details on stderr, and print the line."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="crossview-bench-") as name:
        folder = Path(name)
        runs = {"convnext_tiny": (_convnext(folder / "convnext"), arguments.tiles)}
        small = _small_model(arguments.model)
        if small is None:
            print("No packaged model yet: only ConvNeXt-T is measured.", file=sys.stderr)
        else:
            runs["packaged"] = (small, arguments.small_tiles)
        ratios: dict[str, float] = {}
        medians: dict[str, Timings] = {}
        outside: dict[str, float] = {}
        tiles: dict[str, int] = {}
        for label, (model, wanted) in runs.items():
            tiles[label], timings = _measured(folder / label, model, wanted, arguments)
            command, network = timings["command"], timings["network"]
            key = "vs_network" if label == "convnext_tiny" else f"vs_network_{label}"
            ratios[key] = ratio(command.wall_s, network.wall_s)
            extra = np.subtract(command.cpu_s, network.cpu_s)
            outside[label] = float(f"{1e3 * np.median(extra) / tiles[label]:.4g}")
            medians |= {f"{label}_{name}": timing for name, timing in timings.items()}
            print(
                f"{label}: {ratios[key]:.3f} of the network alone; outside the network "
                f"{outside[label]:.2f} ms of CPU per tile; {tiles[label]} tiles",
                file=sys.stderr,
            )
    report(
        name="index",
        ratios=ratios,
        n=tiles["convnext_tiny"],
        threads=arguments.threads or os.cpu_count() or 1,
        medians=medians,
        rounds=arguments.rounds,
        tiles=tiles,
        cpu_outside_network_ms_per_tile=outside,
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiles", type=int, default=1500, help="for ConvNeXt-T, about")
    parser.add_argument("--small-tiles", type=int, default=20_000, help="for the packaged model")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0: all cores")
    parser.add_argument("--model", default="town", help="the small model's name or folder")
    return parser.parse_args()


def _measured(
    folder: Path, model: Path, wanted: int, arguments: Any
) -> tuple[int, dict[str, Timings]]:
    """How many tiles were indexed, and the timings of the command and of its network."""
    folder.mkdir()
    raster = _raster(folder / "aerial.tif", wanted)
    embedder = open_model(model, threads=arguments.threads)
    with open_sources([raster]) as imagery:
        tiling = Tiling(footprint_m=FOOTPRINT_M, stride_m=STRIDE_M)
        tiles = count_windows(imagery, tiling)
        windows = cut_windows(imagery, tiling)
        batches = [b.views for b in islice(batch_windows(windows, embedder.info.aerial, BATCH), 8)]
    command = _command(folder, raster, model, arguments.threads)

    def network() -> None:
        for start, views in zip(range(0, tiles, BATCH), cycle(batches), strict=False):
            embedder.aerial(views[: tiles - start])

    candidates: dict[str, Callable[[], object]] = {"command": command, "network": network}
    return tiles, interleaved(candidates, arguments.rounds, warm_up=0 if tiles > 300 else 1)


def _command(folder: Path, raster: Path, model: Path, threads: int) -> Callable[[], None]:
    """``crossview index`` as a person runs it."""
    words = [sys.executable, "-m", "crossview", "index", str(raster), "--quiet", "--overwrite"]
    words += ["--model", str(model), "--out", str(folder / "region.cvx")]
    words += ["--stride", str(STRIDE_M), "--threads", str(threads)]

    def run() -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    return run


def _raster(path: Path, tiles: int) -> Path:
    """A tiled JPEG GeoTIFF as orthophotos come, large enough for about that many tiles."""
    import rasterio
    from rasterio.transform import Affine

    metres_per_px = FOOTPRINT_M / TILE_PX
    side = round((FOOTPRINT_M + STRIDE_M * (tiles**0.5 - 1.0)) / metres_per_px)
    noise = np.random.default_rng(0).integers(0, 255, (side // 12, side // 12, 3), dtype=np.uint8)
    pixels = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    place = Affine(metres_per_px, 0, 500_000.0, 0, -metres_per_px, 5_820_000.0)
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8",
        crs="EPSG:32633", transform=place, tiled=True, blockxsize=512, blockysize=512,
        compress="jpeg", photometric="ycbcr",
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(pixels, -1, 0))
        raster.update_tags(CROSSVIEW_SYNTHETIC="benchmark")
    return path


def _small_model(name: str) -> Path | None:
    folder = resolve_model(name)
    return folder if (folder / INFO_NAME).is_file() else None


def _convnext(folder: Path) -> Path:
    """A ConvNeXt-T of random weights as a model folder.

    All of its layers count, as in a trained one: by timm's default their shares are a millionth.
    """
    import timm
    import torch

    class Branch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = timm.create_model("convnext_tiny", num_classes=0, ls_init_value=0.3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
            return torch.nn.functional.normalize(self.trunk(pixels), dim=1)

    torch.manual_seed(0)
    folder.mkdir()
    images = torch.zeros(2, TILE_PX, TILE_PX, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        Branch().eval(), (images,), input_names=["images"], output_names=["embeddings"],
        dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}}, dynamo=True, verbose=False,
    )  # fmt: skip
    program.save(folder / SHARED_NAME)
    size = {"height_px": TILE_PX, "width_px": TILE_PX}
    info = ModelInfo(
        name="convnext_tiny of random weights",
        ground=ViewSpec(side="ground", **size),
        aerial=ViewSpec(side="aerial", footprint_m=FOOTPRINT_M, **size),
        dim=768,
    )
    (folder / INFO_NAME).write_text(json.dumps(info.to_json()))
    return folder


if __name__ == "__main__":
    main()
