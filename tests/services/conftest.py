"""Real servers on loopback, once for all tests; whatever fails shows what the servers said.

Not collected by ``make test``: ``make test-services`` installs the servers and runs this folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import rasterio
from rasterio.warp import transform_bounds
from tests.services.cage import enter_loopback_only, watch
from tests.services.gate import Gate
from tests.services.postgresql import PostgreSQL
from tests.services.programs import Program, run
from tests.services.servers import FileServer, MapServer, Panoramax, TileServer
from tests.services.town import Shown, dress_pictures, split_sequences

WHY_NOT_CAGED = pytest.StashKey[str]()


def pytest_configure(config):
    """Before anything else runs: the tests and all that they start see loopback alone."""
    config.stash[WHY_NOT_CAGED] = enter_loopback_only()


def pytest_terminal_summary(terminalreporter, config):
    why = config.stash[WHY_NOT_CAGED]
    terminalreporter.section("network")
    terminalreporter.line(
        f"the machine's ({why}); every connection was watched instead"
        if why
        else "loopback alone, by a namespace of its own"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for program in Program.running:
            report.sections.append((f"log of {program.name}", program.tell(25)))
    return report


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_running():
    yield
    for program in list(Program.running):
        program.stop()


@pytest.fixture(scope="session")
def why_not_caged(pytestconfig) -> str:
    """Why this process has the machine's network; empty where it has loopback alone."""
    return pytestconfig.stash[WHY_NOT_CAGED]


@dataclass(frozen=True)
class Town:
    """The town that all servers show: its orthophoto, its extent, and its street photos."""

    orthophoto: Path
    bounds: tuple[float, float, float, float]  # west, south, east, north in degrees
    epsg: int
    shown: list[Shown]


class Crossview:
    """The program as a user runs it, watched; ``asked`` is the folder of what it asked for."""

    def __init__(self, folder: Path, outside: Gate) -> None:
        self.folder, self.outside, self.asked = folder, outside, folder / "watched"
        more = watch(self.asked, outside.url)
        root = Path(__file__).resolve().parents[2]
        more["PYTHONPATH"] += os.pathsep + os.pathsep.join((str(root / "src"), str(root)))
        cache = {"CROSSVIEW_CACHE": str(folder / "cache"), "CROSSVIEW_CONFIG": os.devnull}
        self.environment = {**os.environ, **more, **cache, "HF_HUB_OFFLINE": "1"}

    def run(self, *words: str | Path, short: bool = False) -> str:
        """What it says, on stdout and stderr; an error where it fails. ``short``: see shortened."""
        return run([*self._name(short), *words], cwd=self.folder, env=self.environment)

    def start(self, name: str, *words: str | Path, short: bool = False) -> Program:
        """Start it beside the test, to be waited for or killed."""
        return Program(
            name, [*self._name(short), *words], self.folder, environment=self.environment
        )

    def _name(self, short: bool) -> list[str]:
        return [sys.executable, "-m", "tests.services.shortened" if short else "crossview"]


@pytest.fixture(scope="session")
def outside() -> Iterator[Gate]:
    """Where whatever is not on this machine is led to, and refused."""
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def crossview(tmp_path_factory, outside) -> Crossview:
    """The program, run in a folder of its own."""
    return Crossview(tmp_path_factory.mktemp("crossview"), outside)


@pytest.fixture(scope="session")
def town(crossview) -> Town:
    """200 panoramas and 40 photos of 90 degrees, of 640,000 square metres.

    So many, because a region is calibrated and tested on a part each, with a gap between them.
    """
    folder = crossview.folder / "town"
    crossview.run(
        "world", "--style", "suburb", "--seed", "20001", "--panoramas", "200", "--photos", "40",
        "--out", folder,
    )  # fmt: skip
    with rasterio.open(folder / "aerial.tif") as raster:
        bounds, epsg = transform_bounds(raster.crs, 4326, *raster.bounds), raster.crs.to_epsg()
    return Town(folder / "aerial.tif", bounds, epsg, dress_pictures(folder))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A cluster for all tests that want a database; each makes its own with ``make_database``."""
    cluster = PostgreSQL()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def panoramax(postgresql, town, tmp_path_factory) -> Panoramax:
    """A Panoramax server that holds the town's pictures, ten to a sequence."""
    database = postgresql.make_database("geovisio", "postgis", "postgis_raster")
    server = Panoramax(database, tmp_path_factory.mktemp("panoramax") / "server")
    server.wait()
    for number, sequence in enumerate(split_sequences(town.shown), 1):
        server.upload(f"sequence {number}", [shown.picture for shown in sequence])
    return server


@pytest.fixture(scope="session")
def titiler(tmp_path_factory) -> TileServer:
    """A titiler: it reads whatever GeoTIFF it is named."""
    server = TileServer(tmp_path_factory.mktemp("titiler") / "server")
    server.wait()
    return server


@pytest.fixture(scope="session")
def mapproxy(titiler, town, tmp_path_factory) -> MapServer:
    """A MapProxy that shows the town's orthophoto as WMS and WMTS."""
    tiles = titiler.name_tiles(town.orthophoto)
    server = MapServer(tiles, town.bounds, town.epsg, tmp_path_factory.mktemp("maps") / "server")
    server.wait()
    return server


@pytest.fixture(scope="session")
def files(town, tmp_path_factory) -> FileServer:
    """The town's folder over HTTP."""
    server = FileServer(town.orthophoto.parent, tmp_path_factory.mktemp("files") / "server")
    server.wait()
    return server
