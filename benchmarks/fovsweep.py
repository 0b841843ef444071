"""Four fields of view in one evaluation against four evaluations, one for each (vs_separate).

ConvNeXt of random weights on 140 x 768 panoramas and 384 x 384 aerial pictures, as Sample4Geo and
its successors. Pictures are noise in memory, so only the networks' work is compared. "padded": the
network always gets 768 columns; "narrow" (vs_separate_narrow): it gets those that are seen.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Timings, interleaved, ratio, report
from crossview.evaluation.conditions import Condition
from crossview.evaluation.embed import EmbedSettings, embed
from crossview.model import ModelInfo
from crossview.pairs.table import PairTable
from crossview.views.spec import Representation, ViewSpec

FOVS_DEG = (360.0, 180.0, 90.0, 70.0)


def main() -> None:
    """Measure both representations and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--backbone", default="convnext_tiny")
    given = parser.parse_args()
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    ratios: dict[str, float] = {}
    medians: dict[str, Timings] = {}
    network = Network(given.backbone)
    kinds: tuple[tuple[Representation, str], ...] = (
        ("padded", "vs_separate"),
        ("narrow", "vs_separate_narrow"),
    )
    for representation, key in kinds:
        network.info = replace(
            network.info, ground=replace(network.info.ground, representation=representation)
        )
        timings = interleaved(candidates(network, given.pairs), given.rounds)
        ratios[key] = ratio(timings["sweep"].wall_s, timings["separate"].wall_s)
        medians |= {f"{representation}_{name}": timing for name, timing in timings.items()}
        print(f"{representation}: {ratios[key]:.2f}", file=sys.stderr)
    report(
        name="fovsweep",
        ratios=ratios,
        n=given.rounds,
        threads=torch.get_num_threads(),
        medians=medians,
        backbone=given.backbone,
        pairs=given.pairs,
    )


def candidates(network: Any, pairs: int) -> dict[str, Any]:
    """One sweep, and an evaluation per field of view."""
    table, how = table_of(pairs), EmbedSettings(source=Noise(network.info), workers=0, batch=8)
    conditions = [Condition(fov_deg=fov) for fov in FOVS_DEG]

    def separate() -> None:
        for condition in conditions:
            embed(table, network, [condition], how)

    return {"sweep": lambda: embed(table, network, conditions, how), "separate": separate}


class Network:
    """A shared ConvNeXt of random weights as an Embedder."""

    def __init__(self, backbone: str) -> None:
        import timm
        import torch

        torch.manual_seed(0)
        self.trunk = timm.create_model(backbone, num_classes=0).eval()
        self.fingerprint = "0" * 64
        self.info = ModelInfo(
            name=backbone,
            ground=ViewSpec(side="ground", height_px=140, width_px=768),
            aerial=ViewSpec(side="aerial", height_px=384, width_px=384, footprint_m=384.0),
            dim=int(self.trunk.num_features),
            fov_seen_deg=(70.0, 360.0),
        )

    def ground(self, images: Any) -> Any:
        """uint8 [B, h, w, 3] -> [B, D]."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
            return self.trunk(pixels).numpy()

    aerial = ground


class Noise:
    """Pictures as a source gives them, without files."""

    def __init__(self, info: ModelInfo) -> None:
        rng = np.random.default_rng(0)
        self._ground, self._aerial = (
            rng.integers(0, 256, (spec.height_px, spec.width_px, 3), dtype=np.uint8)
            for spec in (info.ground, info.aerial)
        )

    def ground(self, index: int) -> tuple[Any, float]:
        """One panorama, rolled so that no two are alike."""
        return np.roll(self._ground, index, axis=1), 360.0

    def aerial(self, index: int) -> tuple[Any, float]:
        """One picture of one metre per pixel."""
        return np.roll(self._aerial, index, axis=1), 1.0


def table_of(pairs: int) -> PairTable:
    """One-to-one pairs of files that nobody opens."""
    unknown = np.full((pairs, 2), np.nan)
    return PairTable(
        ground=tuple(Path(f"g{n}.jpg") for n in range(pairs)),
        aerial=tuple(Path(f"a{n}.jpg") for n in range(pairs)),
        pairs=np.stack([np.arange(pairs)] * 2, axis=1),
        ignored=np.empty((0, 2), np.int64),
        ground_latlon=unknown,
        aerial_latlon=unknown.copy(),
        metres_per_px=np.ones(pairs),
        up_bearing_deg=np.zeros(pairs),
        heading_deg=np.zeros(pairs),
        fov_deg=np.full(pairs, 360.0),
        perspective=np.zeros(pairs, dtype=bool),
    )


if __name__ == "__main__":
    main()
