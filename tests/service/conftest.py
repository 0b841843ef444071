"""A small real region behind the application, without a socket."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.index.regions import TOY, indexed, meadow

from crossview.service.regions import Regions
from crossview.service.server import create_app
from crossview.service.settings import Settings


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """An index of 250 m x 200 m, its GeoTIFF still there."""
    place = tmp_path_factory.mktemp("served")
    indexed(place, stride_m=20.0)
    return place / "region.cvx"


@pytest.fixture(scope="session")
def regions(folder):
    return Regions([folder], lambda _index: TOY)


@pytest.fixture
def served(regions):
    """Makes clients of applications with their own settings."""
    open_clients = []

    def make(keys=None, regions=regions, **settings):
        client = TestClient(create_app(regions, Settings(**settings), keys))
        open_clients.append(client)
        return client.__enter__()

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(served):
    return served()


def jpeg(seed=0, size=(320, 160), **options):
    """A panorama's file; every seed shows something else."""
    pixels = meadow(size[1], size[0], seed=seed)
    return encoded(Image.fromarray(pixels), "JPEG", **options)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photos(*files):
    """Files as a form; a file is its content, or (name, content)."""
    named = [f if isinstance(f, tuple) else (f"{n}.jpg", f) for n, f in enumerate(files)]
    return [("photo", file) for file in named]


def noise(size=(64, 64), mode="RGB", seed=0):
    bands = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], *bands))
    return Image.fromarray(values.astype(np.uint8), mode)


@pytest.fixture
def photo_folder(tmp_path):
    for name in ("photo.jpg", "a.jpg", "b.jpg", "left.jpg", "right.jpg"):
        (tmp_path / name).write_bytes(jpeg(len(name)))
    return tmp_path
