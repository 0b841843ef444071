"""A synthetic town as its street photos would be uploaded: with places, times and some headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from tests.services.servers import Picture

SEQUENCE = 10  # pictures of one, in the order in which they were taken
FIRST = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
SIGMA_M, BAD_SIGMA_M = 2.5, 80.0
NAMESPACE = 'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '


@dataclass(frozen=True)
class Shown:
    """A picture of the town: what is true, and what its file says of that."""

    name: str
    lat: float
    lon: float
    heading_deg: float
    fov_deg: float
    says: str  # "GPSImgDirection", "PoseHeadingDegrees" or "": no heading
    sigma_m: float
    captured: datetime
    picture: Picture

    @property
    def said_heading_deg(self) -> float | None:
        """The heading in the file, as exact as a file says it."""
        return round(self.heading_deg, 2) % 360.0 if self.says else None


def dress_pictures(town: Path) -> list[Shown]:
    """The pictures of a town's folder, each with EXIF as a phone or a 360-degree camera writes it.

    Every second one has no heading: a server may make one up from the order of the sequence, and
    nobody may believe it. One of forty says of itself that its place is off by 80 m.
    """
    with (town / "places.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [_dress(town, number, row) for number, row in enumerate(rows)]


def _dress(town: Path, number: int, row: dict[str, str]) -> Shown:
    is_panorama = row["kind"] == "panorama"
    says = ("GPSImgDirection", "", "PoseHeadingDegrees" if is_panorama else "GPSImgDirection", "")
    facts = {
        "name": Path(row["file"]).name,
        "lat": float(row["lat"]),
        "lon": float(row["lon"]),
        "heading_deg": float(row["heading_deg"]),
        "fov_deg": float(row["fov_deg"]),
        "says": says[number % 4],
        "sigma_m": BAD_SIGMA_M if number % 40 == 3 else SIGMA_M,
        "captured": FIRST + timedelta(seconds=20 * number),
    }
    picture = Picture(facts["name"], _write(town / row["file"], **facts))
    return Shown(**facts, picture=picture)


def _write(file: Path, **facts) -> bytes:
    with Image.open(file) as image:
        exif, sphere = image.getexif(), image.info.get("xmp")
        exif[Base.DateTime] = f"{facts['captured']:%Y:%m:%d %H:%M:%S}"
        details = exif.get_ifd(IFD.Exif)
        details[Base.DateTimeOriginal] = exif[Base.DateTime]
        details[Base.OffsetTimeOriginal] = "+00:00"
        where = exif.get_ifd(IFD.GPSInfo)
        where[GPS.GPSLatitudeRef] = "N" if facts["lat"] >= 0.0 else "S"
        where[GPS.GPSLatitude] = _split_degrees(facts["lat"])
        where[GPS.GPSLongitudeRef] = "E" if facts["lon"] >= 0.0 else "W"
        where[GPS.GPSLongitude] = _split_degrees(facts["lon"])
        where[GPS.GPSHPositioningError] = facts["sigma_m"]
        if facts["says"] == "GPSImgDirection":
            where[GPS.GPSImgDirectionRef] = "T"
            where[GPS.GPSImgDirection] = Fraction(round(facts["heading_deg"] * 100) % 36000, 100)
        if facts["says"] == "PoseHeadingDegrees":
            said = f'{NAMESPACE}GPano:PoseHeadingDegrees="{facts["heading_deg"] % 360.0:.2f}" '
            sphere = sphere.replace(NAMESPACE.encode(), said.encode())
        data = io.BytesIO()
        image.save(data, "JPEG", quality="keep", exif=exif, **({"xmp": sphere} if sphere else {}))
    return data.getvalue()


def _split_degrees(value: float) -> tuple[Fraction, Fraction, Fraction]:
    """Degrees, minutes, and seconds to a ten-thousandth: 3 mm."""
    tenths = round(abs(value) * 36_000_000)
    whole, rest = divmod(tenths, 36_000_000)
    minutes, seconds = divmod(rest, 600_000)
    return Fraction(whole), Fraction(minutes), Fraction(seconds, 10_000)


def split_sequences(shown: Sequence[Shown]) -> list[Sequence[Shown]]:
    """As they were taken: ten after another."""
    return [shown[start : start + SEQUENCE] for start in range(0, len(shown), SEQUENCE)]
