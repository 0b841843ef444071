"""The orthophoto as a GeoTIFF that says of itself that it is synthetic.

Pictures of towns as files that say so: EXIF of a camera that there is not, GPano; no place.

A list of such pictures may lie anywhere, without a note beside it: what is trained on them must
still say that it knows nothing of Earth.

A sheet to look at: the map beside a few pictures and the ground they were taken on.

Writing a town to a folder: map, photos, their truth, and a sheet to look at.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from crossview.arrays import U8
from crossview.errors import CannotWrite, InvalidValue, require
from crossview.files import atomic_write, sweep, wait_for_disk, writing
from crossview.locks import locked
from crossview.worlds.camera import (
    Drive,
    Shot,
    draw_camera_places,
    render_panorama,
    render_photo,
    start_drive,
)
from crossview.worlds.overhead import render_orthophoto
from crossview.worlds.raster import CELL_M
from crossview.worlds.town import EPSG, TOWN_VERSION, Town, build_town, site

SYNTHETIC_TAG = "CROSSVIEW_SYNTHETIC"  # of GeoTIFF: the town's version
ATTRIBUTION = "Synthetic town made by crossview; not a picture of Earth"
GDAL_METADATA = 0xA480  # the TIFF tag that holds it
_MAKE, _MODEL, _COPYRIGHT = 0x010F, 0x0110, 0x8298
_CAMERA = ("crossview", "synthetic town camera")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_FILM_WIDTH_MM = 36.0  # of the 35 mm frame that focal lengths are compared on


def write_photo(path: Path, picture: U8, fov_deg: float) -> None:
    """Write a JPEG; a photo's focal length goes into EXIF, a panorama's extent into GPano."""
    from PIL import Image, TiffImagePlugin

    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL] = _CAMERA
    if fov_deg < 360.0:
        focal_mm = 0.5 * _FILM_WIDTH_MM / math.tan(math.radians(fov_deg) / 2.0)
        details = exif.get_ifd(0x8769)
        exact = Fraction(focal_mm).limit_denominator(1000)
        details[0x920A] = TiffImagePlugin.IFDRational(exact.numerator, exact.denominator)
        details[0xA405] = round(focal_mm)
        # pixels per millimetre of the sensor, so that the exact focal length counts
        per_mm = Fraction(picture.shape[1] / _FILM_WIDTH_MM).limit_denominator(1000)
        details[0xA20E] = TiffImagePlugin.IFDRational(per_mm.numerator * 10, per_mm.denominator)
        details[0xA210] = 3  # centimetres
    data = io.BytesIO()
    described = {} if fov_deg < 360.0 else {"xmp": _describe_sphere(*image.size)}
    image.save(data, format="JPEG", quality=90, exif=exif, **described)
    atomic_write(path, data.getvalue(), durable=False)


def mark_synthetic(jpeg: bytes) -> bytes:
    """A JPEG file without metadata, with the mark of a town's picture put in front."""
    from PIL import Image

    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL] = _CAMERA
    content = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


def is_synthetic_picture(path: Path) -> bool:
    """Whether a picture's own metadata say that it was rendered; False where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    if (exif.get(_MAKE), exif.get(_MODEL)) == _CAMERA:
        return True
    told = f"{exif.get(_COPYRIGHT, '')} {exif.get(GDAL_METADATA, '')}"
    return ATTRIBUTION in told or SYNTHETIC_TAG in told


def _describe_sphere(width: int, height: int) -> bytes:
    """Photo Sphere XMP of a panorama that shows everything around; its heading stays out."""
    facts = {
        "ProjectionType": "equirectangular",
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
    }
    values = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        f"{values}/></rdf:RDF></x:xmpmeta>"
    ).encode()


def is_synthetic_map(path: Path) -> bool:
    """Whether a file is a map that :func:`write_map` has written."""
    from PIL import Image

    try:
        with Image.open(path, formats=["TIFF"]) as image:
            return SYNTHETIC_TAG in str(image.getexif().get(GDAL_METADATA, ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def write_geotiff(path: Path, town: Town, picture: U8) -> None:
    """Write [n, n, 3] as a tiled, compressed GeoTIFF in UTM, tagged with the town's version."""
    import rasterio
    from rasterio.transform import from_origin

    spot = site(town)
    profile = {
        "driver": "GTiff", "width": picture.shape[1], "height": picture.shape[0], "count": 3,
        "dtype": "uint8", "crs": f"EPSG:{EPSG}", "tiled": True, "compress": "deflate",
        "photometric": "RGB", "blockxsize": 256, "blockysize": 256,
        "transform": from_origin(spot.west_m, spot.north_m, CELL_M, CELL_M),
    }  # fmt: skip
    with writing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(picture.transpose(2, 0, 1))
        raster.update_tags(**{
            SYNTHETIC_TAG: f"town {TOWN_VERSION}",
            "TIFFTAG_COPYRIGHT": ATTRIBUTION,
            "TIFFTAG_IMAGEDESCRIPTION": f"style {town.style_name}, seed {town.seed}",
        })  # fmt: skip


ROW_PX, GROUND_PX, TILE_M = 220, 440, 80.0
MARK = (255, 60, 40)


def write_sheet(
    path: Path,
    town: Town,
    above: U8,
    examples: Sequence[tuple[Shot, U8]],
) -> None:
    """Write the map, and per example its tile (an arrow shows the heading) and its picture."""
    from PIL import Image, ImageDraw

    height = max(len(examples) * ROW_PX, 2 * ROW_PX)
    sheet = Image.new("RGB", (height + ROW_PX + GROUND_PX, height), (24, 26, 30))
    sheet.paste(Image.fromarray(above).resize((height, height), Image.Resampling.BOX), (0, 0))
    pen = ImageDraw.Draw(sheet)
    for n, (shot, picture) in enumerate(examples):
        column, row = (x / CELL_M - town.apron_cells for x in (shot.east_m, shot.south_m))
        half = TILE_M / CELL_M / 2
        box = (column - half, row - half, column + half, row + half)
        tile = Image.fromarray(above).transform((ROW_PX, ROW_PX), Image.Transform.EXTENT, box)
        sheet.paste(tile, (height, n * ROW_PX))
        _draw_arrow(pen, (height + ROW_PX / 2, (n + 0.5) * ROW_PX), shot.heading_deg, 0.4 * ROW_PX)
        shown = Image.fromarray(picture)
        shown.thumbnail((GROUND_PX, ROW_PX))
        sheet.paste(shown, (height + ROW_PX, n * ROW_PX))
        scale = height / above.shape[0]
        _draw_arrow(pen, (column * scale, row * scale), shot.heading_deg, 14.0)
        pen.text((column * scale + 8, row * scale + 4), str(n + 1), fill=MARK)
        pen.text((height + 6, n * ROW_PX + 4), str(n + 1), fill=MARK)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    atomic_write(path, data.getvalue())


def _draw_arrow(pen: object, at: tuple[float, float], heading_deg: float, length: float) -> None:
    turn = math.radians(heading_deg)
    tip = (at[0] + length * math.sin(turn), at[1] - length * math.cos(turn))
    pen.line([at, tip], fill=MARK, width=3)  # type: ignore[attr-defined]
    r = 4
    pen.ellipse([at[0] - r, at[1] - r, at[0] + r, at[1] + r], outline=MARK, width=2)  # type: ignore[attr-defined]


COLUMNS = ("file", "lat", "lon", "heading_deg", "fov_deg", "kind")
PHOTO_PX = (640, 480)
PANORAMA_PX = (1024, 512)


@dataclass(frozen=True)
class PhotoSeries:
    """``count`` pictures of one kind; ``fov_deg`` 360 means panoramas."""

    count: int
    fov_deg: float = 360.0
    pitch_deg: float = 0.0  # drawn uniformly from plus or minus this

    @property
    def kind(self) -> str:
        """``panorama`` or ``photo_90deg`` and the like."""
        return "panorama" if self.fov_deg >= 360.0 else f"photo_{self.fov_deg:g}deg"


@dataclass(frozen=True)
class World:
    """What was written."""

    folder: Path
    map_file: Path
    places_file: Path
    area_km2: float
    pictures: int


def write_world(
    folder: Path,
    style_name: str,
    seed: int,
    *,
    side_m: float = 800.0,
    series: tuple[PhotoSeries, ...] = (PhotoSeries(12), PhotoSeries(12, 90.0)),
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> World:
    """Write aerial.tif, ground/*.jpg, places.csv and sheet.png of one town below ``folder``.

    places.csv is written last: a folder that has it is whole. Headings are true, drawn evenly.
    """
    for one in series:
        require(one.count >= 0, f"a number of pictures is >= 0, got {one.count}.")
        require(
            one.fov_deg == 360.0 or 5.0 <= one.fov_deg <= 140.0,
            f"a photo's field of view lies in [5, 140] degrees (360: panorama), got {one.fov_deg}.",
        )
    with locked(folder, "crossview world", make_parents=True):
        _prepare_folder(folder)
        return _write_parts(folder, build_town(style_name, seed, side_m), series, progress)


def _write_parts(
    folder: Path, town: Town, series: tuple[PhotoSeries, ...], progress: Callable[[int, int], None]
) -> World:
    above = render_orthophoto(town)
    write_geotiff(folder / "aerial.tif", town, above)
    drive = start_drive(town)
    shots = list(_draw_shots(town, series))
    rows, examples = [], []
    with ThreadPoolExecutor(2) as pool:
        taken = pool.map(lambda shot: _take_picture(folder, drive, *shot), shots)
        for n, ((name, shot), picture) in enumerate(zip(shots, taken, strict=True), 1):
            rows.append(_format_row(town, name, shot))
            if name.endswith(("_0000", "_0001", "_0002")):
                examples.append((shot, picture))
            progress(n, len(shots))
    write_sheet(folder / "sheet.png", town, above, examples[:6])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    wait_for_disk()
    atomic_write(folder / "places.csv", text.getvalue())
    side_km = above.shape[0] * CELL_M / 1000.0
    return World(folder, folder / "aerial.tif", folder / "places.csv", side_km**2, len(shots))


def _prepare_folder(folder: Path) -> None:
    above = folder / "aerial.tif"
    if (folder / "places.csv").exists() or (above.exists() and not is_synthetic_map(above)):
        raise InvalidValue(f"{folder} already holds a world; choose another --out or remove it.")
    try:
        (folder / "ground").mkdir(parents=True, exist_ok=True)
        for part in (folder, folder / "ground"):
            sweep(part)
    except OSError as problem:
        raise CannotWrite(f"Cannot make the folder {folder}: {problem.strerror}.") from problem


def _draw_shots(town: Town, series: tuple[PhotoSeries, ...]) -> Iterator[tuple[str, Shot]]:
    look = 0
    for one in series:
        rng = town.stream(f"shots {one.kind} {one.pitch_deg}")
        for n, (east, south) in enumerate(draw_camera_places(town, one.count, one.kind)):
            look += 1
            size = PANORAMA_PX if one.kind == "panorama" else PHOTO_PX
            heading, pitch = rng.uniform(0.0, 360.0), rng.uniform(-1.0, 1.0) * one.pitch_deg
            yield (
                f"{one.kind}_{n:04d}",
                Shot(
                    float(east),
                    float(south),
                    float(heading),
                    one.fov_deg,
                    float(pitch),
                    *size,
                    look,
                ),
            )


def _take_picture(folder: Path, drive: Drive, name: str, shot: Shot) -> U8:
    picture = render_panorama(drive, shot) if shot.fov_deg >= 360.0 else render_photo(drive, shot)
    write_photo(folder / "ground" / f"{name}.jpg", picture, shot.fov_deg)
    return picture


def _format_row(town: Town, name: str, shot: Shot) -> tuple[str, ...]:
    place = site(town).latlon(shot.east_m, shot.south_m)
    heading = (shot.heading_deg + site(town).convergence_deg(place)) % 360.0
    return (
        f"ground/{name}.jpg", f"{place.lat:.8f}", f"{place.lon:.8f}", f"{heading:.3f}",
        f"{shot.fov_deg:g}", name.rsplit("_", 1)[0],
    )  # fmt: skip
