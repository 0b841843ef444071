"""An index in memory: windows on a grid of known places, vectors given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.errors import ModelMismatch
from crossview.geo.footprints import Footprint
from crossview.geo.points import LatLon, move_point

ORIGIN = LatLon(-12.25, 60.5)


class FakeIndex:
    """What locate needs of an Index; windows every ``stride_m``, row by row from the south-west."""

    def __init__(self, vectors, embedder, *, footprint_m=40.0, stride_m=50.0, up_bearing_deg=0.0):
        self.vectors = np.asarray(vectors, np.float32)
        self.count = len(self.vectors)
        side = int(np.ceil(np.sqrt(self.count)))
        places = [
            move_point(ORIGIN, east_m=stride_m * (n % side), north_m=stride_m * (n // side))
            for n in range(self.count)
        ]
        self.lat = np.array([p.lat for p in places])
        self.lon = np.array([p.lon for p in places])
        self.up_bearing_deg = np.full(self.count, float(up_bearing_deg))
        self.path, self.name = Path("fake.cvx"), "fake.cvx"
        self.held, self.weights = self, None  # all windows, each for itself
        self.total, self.complete_above = self.count, -np.inf
        self.fingerprint = "fa" * 32
        model = SimpleNamespace(
            name_or_path="toy", fingerprint=embedder.fingerprint, dim=embedder.info.dim,
            azimuth_bins=embedder.info.azimuth_bins,
        )  # fmt: skip
        imagery = SimpleNamespace(attribution="", date="", synthetic=None, sources=("a.tif",))
        self.manifest = SimpleNamespace(
            model=model, imagery=imagery, footprint_m=footprint_m, stride_m=stride_m, warnings=(),
            demo_only=False, area_km2=1.0, calibration=None, heights=None,
        )  # fmt: skip

    def latlon(self, row):
        return LatLon(float(self.lat[row]), float(self.lon[row]))

    def footprint(self, row):
        metres_per_px = self.manifest.footprint_m / 96
        return Footprint(self.latlon(row), metres_per_px, 96, 96, float(self.up_bearing_deg[row]))

    def blocks(self):
        for start in range(0, self.count, 7):
            rows = slice(start, min(start + 7, self.count))
            yield rows, self.vectors[rows]

    def sample_bearings(self, _most):
        return self.up_bearing_deg

    def take_vectors(self, rows):
        return self.vectors[rows]

    def require_model(self, fingerprint):
        if fingerprint != self.manifest.model.fingerprint:
            raise ModelMismatch("made by another model; build the index again")


def spheres(count, seed=0):
    """Random smooth panoramas [count, 256, 512, 3], each unlike the others in every direction."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 32, 3)).astype(np.uint8)
    return coarse.repeat(32, axis=1).repeat(16, axis=2)


def turned(panorama, by_deg):
    """The panorama of a camera that looks ``by_deg`` clockwise of where it looked."""
    return np.roll(panorama, -round(by_deg / 360.0 * panorama.shape[1]), axis=1)


def toy(bins=8, **changes):
    """A toy embedder whose vectors tell ``bins`` directions apart."""
    return ToyEmbedder(replace(toy_info(azimuth_bins=bins), **changes))


def index_of_panoramas(panoramas, embedder, **options):
    """Window i looks from above exactly as panorama i looks from the ground, up in the middle."""
    from crossview.views.ground import make_ground_view

    strips = [
        make_ground_view(p, "panorama", embedder.info.ground, fov_deg=360.0) for p in panoramas
    ]
    return FakeIndex(embedder.ground(np.stack(strips)), embedder, **options)
