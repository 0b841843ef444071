"""A town as a folder: the map, photos, their places and headings, and a sheet for a first look.

Every picture says of itself that it is synthetic. A list of such pictures may lie anywhere: a
model that is trained on them must still say that it knows nothing of Earth.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np

from crossview.arrays import U8
from crossview.errors import CannotWrite, InvalidValue, require
from crossview.files import atomic_write, sweep, wait_for_disk, writing
from crossview.geo.points import LatLon, project_to_local_m
from crossview.locks import lock
from crossview.views.decode import read_rgb
from crossview.worlds.camera import (
    Drive,
    Shot,
    draw_camera_places,
    render_orthophoto,
    render_panorama,
    render_photo,
)
from crossview.worlds.changes import Changes, start_changed_drive
from crossview.worlds.town import (
    APRON_M,
    CELL_M,
    EPSG,
    SYNTHETIC_TAG,
    TOWN_VERSION,
    Town,
    build_town,
)

HEIGHTS_NAME = "heights.tif"
COLUMNS = ("file", "lat", "lon", "heading_deg", "fov_deg", "kind")
PHOTO_PX = (640, 480)
PANORAMA_PX = (1024, 512)
ATTRIBUTION = "Synthetic town made by crossview; not a picture of Earth"
_GDAL_METADATA = 0xA480  # the TIFF tag that holds SYNTHETIC_TAG
_WIDTH, _HEIGHT, _DESCRIPTION = 0x100, 0x101, 0x10E
_CAMERA = ("crossview", "synthetic town camera")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_FILM_WIDTH_MM = 36.0  # of the 35 mm frame that focal lengths are compared on
ROW_PX, GROUND_PX, TILE_M = 220, 440, 80.0
MARK = (255, 60, 40)


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
    """The folder of a town that was written."""

    folder: Path
    map_file: Path
    places_file: Path
    area_km2: float
    pictures: int


def write_world(  # noqa: PLR0913 - a town, its pictures, and what is to be written beside them
    folder: Path,
    style_name: str,
    seed: int,
    *,
    side_m: float = 800.0,
    series: tuple[PhotoSeries, ...] = (PhotoSeries(12), PhotoSeries(12, 90.0)),
    progress: Callable[[int, int], None] = lambda done, of: None,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    heights: bool = False,
) -> World:
    """Write aerial.tif, ground/*.jpg, places.csv and sheet.png of one town below ``folder``.

    places.csv is written last: a folder that has it is whole, and left as it is if it is this
    town with these pictures. Headings are true, drawn evenly. ``changes``: between the aerial
    picture and the others. ``heights``: heights.tif too, the town's surface as a survey flight
    finds it.
    """
    for part in series:
        require(part.count >= 0, f"a number of pictures must be >= 0, got {part.count}.")
        require(
            part.fov_deg == 360.0 or 5.0 <= part.fov_deg <= 140.0,
            f"a photo's field of view must lie in [5, 140] degrees (360: panorama), "
            f"got {part.fov_deg}.",
        )
    with lock(folder, "crossview world", make_parents=True):
        town = build_town(style_name, seed, side_m)
        shots = list(_draw_shots(town, series))
        if not _is_whole(folder, town, shots, changes):
            _prepare_folder(folder)
            _write_parts(folder, town, shots, changes, progress)
        if heights and not (folder / HEIGHTS_NAME).exists():
            write_height_map(folder / HEIGHTS_NAME, town)
        side_km = town.mapped_cells * CELL_M / 1000.0
    return World(folder, folder / "aerial.tif", folder / "places.csv", side_km**2, len(shots))


def _is_whole(
    folder: Path, town: Town, shots: Sequence[tuple[str, Shot]], changes: Changes
) -> bool:
    """Whether the folder holds this town already, with these pictures."""
    try:
        places = (folder / "places.csv").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    above = _read_exif(folder / "aerial.tif", ("TIFF",))
    return (
        places == _format_places(town, shots)
        and f"town {TOWN_VERSION}" in str(above.get(_GDAL_METADATA, ""))
        and above.get(_WIDTH) == above.get(_HEIGHT) == town.mapped_cells
        and above.get(_DESCRIPTION) == _describe(town, changes)
    )


def _write_parts(
    folder: Path,
    town: Town,
    shots: Sequence[tuple[str, Shot]],
    changes: Changes,
    progress: Callable[[int, int], None],
) -> None:
    above = render_orthophoto(town)
    write_geotiff(folder / "aerial.tif", town, above, changes)
    drive = start_changed_drive(town, changes)
    examples = []
    with ThreadPoolExecutor(2) as pool:
        pictures = pool.map(lambda shot: _take_picture(folder, drive, *shot), shots)
        for n, ((name, shot), picture) in enumerate(zip(shots, pictures, strict=True), 1):
            if name.endswith(("_0000", "_0001", "_0002")):
                examples.append((shot, picture))
            progress(n, len(shots))
    write_sheet(folder / "sheet.png", town, above, examples[:6])
    wait_for_disk()
    atomic_write(folder / "places.csv", _format_places(town, shots))


def _format_places(town: Town, shots: Sequence[tuple[str, Shot]]) -> str:
    text = io.StringIO()
    rows = [_format_row(town, name, shot) for name, shot in shots]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()


def _prepare_folder(folder: Path) -> None:
    above = folder / "aerial.tif"
    if (folder / "places.csv").exists() or (above.exists() and not is_synthetic_map(above)):
        raise InvalidValue(f"{folder} already holds a world; choose another --out or remove it.")
    try:
        (folder / "ground").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "ground"):
            sweep(place)
    except OSError as problem:
        raise CannotWrite(f"Cannot make the folder {folder}: {problem.strerror}.") from problem


def _draw_shots(town: Town, series: tuple[PhotoSeries, ...]) -> Iterator[tuple[str, Shot]]:
    look = 0
    for part in series:
        rng = town.seed_generator(f"shots {part.kind} {part.pitch_deg}")
        for n, (east, south) in enumerate(draw_camera_places(town, part.count, part.kind)):
            look += 1
            size = PANORAMA_PX if part.kind == "panorama" else PHOTO_PX
            heading, pitch = rng.uniform(0.0, 360.0), rng.uniform(-1.0, 1.0) * part.pitch_deg
            at = float(east), float(south)
            shot = Shot(*at, float(heading), part.fov_deg, float(pitch), *size, look)
            yield f"{part.kind}_{n:04d}", shot


def _take_picture(folder: Path, drive: Drive, name: str, shot: Shot) -> U8:
    picture = render_panorama(drive, shot) if shot.fov_deg >= 360.0 else render_photo(drive, shot)
    write_photo(folder / "ground" / f"{name}.jpg", picture, shot.fov_deg)
    return picture


def _format_row(town: Town, name: str, shot: Shot) -> tuple[str, ...]:
    place = town.site.latlon(shot.east_m, shot.south_m)
    heading = (shot.heading_deg + town.site.convergence_deg(place)) % 360.0
    return (
        f"ground/{name}.jpg", f"{place.lat:.8f}", f"{place.lon:.8f}", f"{heading:.3f}",
        f"{shot.fov_deg:g}", name.rsplit("_", 1)[0],
    )  # fmt: skip


def write_height_map(path: Path, town: Town) -> None:
    """Write metres above the ground of buildings and trees as a GeoTIFF, the apron included."""
    import rasterio
    from rasterio.transform import from_origin

    surface = np.maximum(town.height_m, town.crown_top_m)
    west, north = town.site.west_m - APRON_M, town.site.north_m + APRON_M
    profile = {
        "driver": "GTiff", "width": surface.shape[1], "height": surface.shape[0], "count": 1,
        "dtype": "float32", "crs": f"EPSG:{EPSG}", "tiled": True, "compress": "deflate",
        "predictor": 3, "blockxsize": 256, "blockysize": 256,
        "transform": from_origin(west, north, CELL_M, CELL_M),
    }  # fmt: skip
    with writing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(surface, 1)
        raster.update_tags(**{
            SYNTHETIC_TAG: f"town {TOWN_VERSION}", "TIFFTAG_COPYRIGHT": ATTRIBUTION,
        })  # fmt: skip


def write_geotiff(
    path: Path,
    town: Town,
    picture: U8,
    changes: Changes = Changes(),  # noqa: B008 - frozen
) -> None:
    """Write [n, n, 3] as a tiled, compressed GeoTIFF in UTM, tagged with the town's version."""
    import rasterio
    from rasterio.transform import from_origin

    profile = {
        "driver": "GTiff", "width": picture.shape[1], "height": picture.shape[0], "count": 3,
        "dtype": "uint8", "crs": f"EPSG:{EPSG}", "tiled": True, "compress": "deflate",
        "photometric": "RGB", "blockxsize": 256, "blockysize": 256,
        "transform": from_origin(town.site.west_m, town.site.north_m, CELL_M, CELL_M),
    }  # fmt: skip
    with writing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(picture.transpose(2, 0, 1))
        raster.update_tags(**{
            SYNTHETIC_TAG: f"town {TOWN_VERSION}",
            "TIFFTAG_COPYRIGHT": ATTRIBUTION,
            "TIFFTAG_IMAGEDESCRIPTION": _describe(town, changes),
        })  # fmt: skip


def _describe(town: Town, changes: Changes) -> str:
    since = f", photographed later: {changes}" if str(changes) else ""
    return f"style {town.style_name}, seed {town.seed}{since}"


def is_synthetic_map(path: Path) -> bool:
    """Whether a file is a map that :func:`write_geotiff` wrote."""
    return SYNTHETIC_TAG in str(_read_exif(path, ("TIFF",)).get(_GDAL_METADATA, ""))


def write_photo(path: Path, picture: U8, fov_deg: float, *, taken: datetime | None = None) -> None:
    """Write a JPEG; a photo's focal length goes into EXIF, a panorama's extent into GPano.

    ``taken``: when, with its zone; whole seconds are written.
    """
    from PIL import Image, TiffImagePlugin
    from PIL.ExifTags import IFD, Base

    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = _CAMERA
    if fov_deg < 360.0:
        focal_mm = 0.5 * _FILM_WIDTH_MM / math.tan(math.radians(fov_deg) / 2.0)
        details = exif.get_ifd(IFD.Exif)
        exact = Fraction(focal_mm).limit_denominator(1000)
        details[Base.FocalLength] = TiffImagePlugin.IFDRational(exact.numerator, exact.denominator)
        details[Base.FocalLengthIn35mmFilm] = round(focal_mm)
        # Pixels per centimetre of the sensor, so that the exact focal length counts.
        per_mm = Fraction(picture.shape[1] / _FILM_WIDTH_MM).limit_denominator(1000)
        details[Base.FocalPlaneXResolution] = TiffImagePlugin.IFDRational(
            per_mm.numerator * 10, per_mm.denominator
        )
        details[Base.FocalPlaneResolutionUnit] = 3  # centimetres
    if taken is not None:
        details = exif.get_ifd(IFD.Exif)
        details[Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        zone = taken.strftime("%z")
        details[Base.OffsetTimeOriginal] = f"{zone[:3]}:{zone[3:]}"
    data = io.BytesIO()
    described = {} if fov_deg < 360.0 else {"xmp": _describe_sphere(*image.size)}
    image.save(data, format="JPEG", quality=90, exif=exif, **described)
    atomic_write(path, data.getvalue(), durable=False)


def _describe_sphere(width: int, height: int) -> bytes:
    """Photo Sphere XMP of a full panorama, without its heading."""
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


def mark_synthetic(jpeg: bytes) -> bytes:
    """Put the mark of a town's picture into a JPEG file that has no metadata."""
    from PIL import Image
    from PIL.ExifTags import Base

    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = _CAMERA
    content = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


def is_synthetic_picture(path: Path) -> bool:
    """Whether a picture's own metadata say that it was rendered; False if it cannot be read."""
    from PIL.ExifTags import Base

    exif = _read_exif(path, _FORMATS)
    if (exif.get(Base.Make), exif.get(Base.Model)) == _CAMERA:
        return True
    notes = f"{exif.get(Base.Copyright, '')} {exif.get(_GDAL_METADATA, '')}"
    return ATTRIBUTION in notes or SYNTHETIC_TAG in notes


def _read_exif(path: Path, formats: Sequence[str]) -> Mapping[int, object]:
    """The tags of a picture; none where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=list(formats)) as image:
            return image.getexif()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}


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
        draw_arrow(pen, (height + ROW_PX / 2, (n + 0.5) * ROW_PX), shot.heading_deg, 0.4 * ROW_PX)
        thumbnail = Image.fromarray(picture)
        thumbnail.thumbnail((GROUND_PX, ROW_PX))
        sheet.paste(thumbnail, (height + ROW_PX, n * ROW_PX))
        scale = height / above.shape[0]
        draw_arrow(pen, (column * scale, row * scale), shot.heading_deg, 14.0)
        pen.text((column * scale + 8, row * scale + 4), str(n + 1), fill=MARK)
        pen.text((height + 6, n * ROW_PX + 4), str(n + 1), fill=MARK)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    atomic_write(path, data.getvalue())


def draw_arrow(pen: object, at: tuple[float, float], heading_deg: float, length: float) -> None:
    """Draw an arrow of ``length`` pixels from a ringed place, clockwise from up."""
    turn = math.radians(heading_deg)
    tip = (at[0] + length * math.sin(turn), at[1] - length * math.cos(turn))
    pen.line([at, tip], fill=MARK, width=3)  # type: ignore[attr-defined]
    r = 4
    pen.ellipse([at[0] - r, at[1] - r, at[0] + r, at[1] + r], outline=MARK, width=2)  # type: ignore[attr-defined]


def write_pair_sheet(path: Path, pairs: Path, count: int = 10) -> None:
    """Write a sheet of a list of pairs: the picture from above, with the camera, and the other.

    An arrow begins at the camera and points where the middle of the other picture looks; where
    that is not known, there is a ring only. Panoramas fill their row, photos keep their shape.
    """
    from PIL import Image, ImageDraw

    with pairs.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["relation"] == "match"]
    rows = rows[:: max(1, len(rows) // count)][:count]
    sheet = Image.new("RGB", (ROW_PX + 4 * ROW_PX, len(rows) * ROW_PX), (24, 26, 30))
    pen = ImageDraw.Draw(sheet)
    for n, row in enumerate(rows):
        with Image.open(pairs.parent / row["aerial"]) as above:
            scale = ROW_PX / above.width
            sheet.paste(above.resize((ROW_PX, ROW_PX), Image.Resampling.BOX), (0, n * ROW_PX))
        view = Image.fromarray(read_rgb(pairs.parent / row["ground"]))
        wide = 4 * ROW_PX if row["kind"] == "panorama" else view.width * ROW_PX // view.height
        view = view.resize((min(max(wide, 1), 4 * ROW_PX), ROW_PX))
        sheet.paste(view, (ROW_PX, n * ROW_PX))
        middle, camera = (
            LatLon(float(row[f"{side}_lat"]), float(row[f"{side}_lon"]))
            for side in ("aerial", "ground")
        )
        east, north = project_to_local_m(middle, camera.lat, camera.lon)
        turn, px = math.radians(float(row["up_bearing_deg"])), scale / float(row["metres_per_px"])
        right = float(east) * math.cos(turn) - float(north) * math.sin(turn)
        up = float(east) * math.sin(turn) + float(north) * math.cos(turn)
        at = 0.5 * ROW_PX + right * px, (n + 0.5) * ROW_PX - up * px
        known = row["heading_deg"] != ""
        heading = float(row["heading_deg"] or 0.0) - float(row["up_bearing_deg"])
        draw_arrow(pen, at, heading, 0.3 * ROW_PX if known else 0.0)
        pen.text((6, n * ROW_PX + 4), row["split"], fill=MARK)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    atomic_write(path, data.getvalue())
