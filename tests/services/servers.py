"""The real servers: Panoramax with its street photos, titiler and MapProxy with an orthophoto.

Each runs in an environment of its own below ``.venv-services`` (``make test-services`` installs
them), because they pin other versions of what crossview uses.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.services.programs import (
    LONGEST_S,
    LOOPBACK,
    Program,
    answers,
    find_port,
    run,
    wait_until,
)

ENVIRONMENTS = Path(
    os.environ.get("CROSSVIEW_SERVICES_VENVS")
    or Path(__file__).resolve().parents[2] / ".venv-services"
)
LICENCE = ("CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/")
LAYER = "town"


def find_command(environment: str, name: str) -> Path:
    """A program of one of the servers' environments."""
    command = ENVIRONMENTS / environment / "bin" / name
    if not command.exists():
        raise RuntimeError(f"{command} is absent. Run: make test-services")
    return command


def quiet_environment(**more: str) -> dict[str, str]:
    """What a server needs of this process's environment: no settings, no path of Python's."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **more}


@dataclass(frozen=True)
class Picture:
    """What is uploaded: a JPEG with its place and time in its EXIF."""

    name: str
    content: bytes


class Panoramax:
    """PyPI's ``geovisio``, the server of Panoramax, on a database with PostGIS."""

    def __init__(self, database: str, folder: Path) -> None:
        (folder / "pictures").mkdir(parents=True)
        flask = find_command("street", "flask")
        environment = quiet_environment(
            DB_URL=database, FS_URL=str(folder / "pictures"), FLASK_APP="geovisio",
            SECRET_KEY="of the tests", API_FORCE_AUTH_ON_UPLOAD="false", INFRA_NB_PROXIES="0",
            PICTURE_PROCESS_DERIVATES_STRATEGY="PREPROCESS", PICTURE_PROCESS_THREADS_LIMIT="1",
            API_PICTURES_LICENSE_SPDX_ID=LICENCE[0], API_PICTURES_LICENSE_URL=LICENCE[1],
        )  # fmt: skip
        run([flask, "db", "upgrade"], cwd=folder, env=environment)
        self.port = find_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.program = Program(
            "panoramax", [flask, "run", "--host", LOOPBACK, "--port", str(self.port)], folder,
            environment=environment,
        )  # fmt: skip

    def wait(self) -> None:
        """Until it answers."""
        self.program.wait_until(lambda: answers(f"{self.url}/api"), "does not answer")

    def upload(self, title: str, pictures: Sequence[Picture]) -> str:
        """A new sequence of these pictures, all processed; its identifier."""
        with httpx.Client(base_url=f"{self.url}/api", timeout=LONGEST_S, trust_env=False) as client:
            made = client.post("/collections", json={"title": title}).raise_for_status().json()
            for position, picture in enumerate(pictures, 1):
                client.post(
                    f"/collections/{made['id']}/items",
                    data={"position": str(position)},
                    files={"picture": (picture.name, picture.content, "image/jpeg")},
                ).raise_for_status()

            def is_ready() -> bool:
                told = client.get(f"/collections/{made['id']}/geovisio_status").raise_for_status()
                states = [item["status"] for item in told.json()["items"]]
                if "broken" in states:
                    raise RuntimeError(f"Panoramax refused a picture: {told.text}")
                return states.count("ready") == len(pictures)

            wait_until(is_ready, f"{len(pictures)} pictures of {title} are not ready", self.program)
        return made["id"]


class TileServer:
    """``titiler.application``: XYZ tiles of a GeoTIFF."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port = find_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.program = Program(
            "titiler", [find_command("maps", "uvicorn"), "titiler.application.main:app",
                        "--host", LOOPBACK, "--port", str(self.port)], folder,
            environment=quiet_environment(GDAL_CACHEMAX="64"),
        )  # fmt: skip

    def wait(self) -> None:
        """Until it answers."""
        self.program.wait_until(lambda: answers(f"{self.url}/healthz"), "does not answer")

    def name_tiles(self, file: Path, through: str = "") -> str:
        """The address of the file's tiles: ``{z}/{x}/{y}``, Web Mercator."""
        tiles = "/cog/tiles/WebMercatorQuad/{z}/{x}/{y}.png"
        return f"{through or self.url}{tiles}?url={file}&resampling=bilinear"


_MAPPROXY = """
services:
  wms:
    srs: ['EPSG:3857', 'EPSG:4326', 'EPSG:{epsg}']
    image_formats: ['image/png', 'image/jpeg']
    md: {{title: A synthetic town, fees: none, access_constraints: none}}
  wmts: {{}}
layers:
  - name: {layer}
    title: The orthophoto of a synthetic town
    sources: [tiles]
caches:
  tiles:
    grids: [webmercator]
    sources: [titiler]
    format: image/png
sources:
  titiler:
    type: tile
    grid: webmercator
    url: {tiles}
    coverage: {{bbox: [{west}, {south}, {east}, {north}], srs: 'EPSG:4326'}}
grids:
  webmercator: {{base: GLOBAL_WEBMERCATOR, num_levels: 20}}
globals:
  cache: {{base_dir: {folder}/cache, lock_dir: {folder}/locks, tile_lock_dir: {folder}/tile-locks}}
  image: {{resampling_method: bicubic, paletted: false}}
"""


class MapServer:
    """MapProxy: WMS and WMTS of what another server has as XYZ tiles."""

    def __init__(
        self, tiles: str, bounds: tuple[float, float, float, float], epsg: int, folder: Path
    ) -> None:
        folder.mkdir(parents=True)
        for name in "zxy":
            tiles = tiles.replace(f"{{{name}}}", f"%({name})s")
        west, south, east, north = bounds
        settings = folder / "mapproxy.yaml"
        settings.write_text(
            _MAPPROXY.format(
                layer=LAYER, epsg=epsg, tiles=tiles, folder=folder, west=west, south=south,
                east=east, north=north,
            )
        )  # fmt: skip
        self.port = find_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.program = Program(
            "mapproxy", [find_command("maps", "mapproxy-util"), "serve-develop", settings,
                         "-b", f"{LOOPBACK}:{self.port}"], folder,
            environment=quiet_environment(),
        )  # fmt: skip
        self.wms = f"{self.url}/service?SERVICE=WMS&REQUEST=GetCapabilities"
        self.wmts = f"{self.url}/wmts/1.0.0/WMTSCapabilities.xml"

    def wait(self) -> None:
        """Until it answers."""
        self.program.wait_until(lambda: answers(self.wmts), "does not answer")


class FileServer:
    """A folder over HTTP with ranges, by Starlette's static files."""

    def __init__(self, shown: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "files_served.py").write_text(
            "from starlette.applications import Starlette\n"
            "from starlette.routing import Mount\n"
            "from starlette.staticfiles import StaticFiles\n"
            f"app = Starlette(routes=[Mount('/', StaticFiles(directory={str(shown)!r}))])\n"
        )
        self.port = find_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.program = Program(
            "files", [find_command("maps", "uvicorn"), "files_served:app", "--app-dir", folder,
                      "--host", LOOPBACK, "--port", str(self.port)], folder,
            environment=quiet_environment(),
        )  # fmt: skip

    def wait(self) -> None:
        """Until it answers, if only that there is no page at its root."""
        self.program.wait_until(lambda: answers(self.url), "does not answer")
