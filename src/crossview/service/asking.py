"""What a request may ask for beside its photos: the query of the address, checked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from crossview.geo.points import latlon_from_text
from crossview.localization.hints import Hints
from crossview.views.lens import FOV_RANGE_DEG

HALF_ROUND_KM = 20_040.0
Format = Literal["json", "geojson", "kml", "kmz", "gpx", "csv"]


class Asked(BaseModel):
    """Hints; everything is optional."""

    model_config = ConfigDict(extra="forbid")

    region: str | None = Field(None, max_length=200, description="default: the first region")
    fov: float | None = Field(
        None, ge=FOV_RANGE_DEG[0], le=FOV_RANGE_DEG[1], allow_inf_nan=False,
        description="horizontal field of view, degrees",
    )  # fmt: skip
    heading: float | None = Field(
        None, ge=-360, le=360, allow_inf_nan=False,
        description="of the photo's middle, clockwise from true north",
    )  # fmt: skip
    ignore_direction: bool = Field(
        False, description="do not use the heading that a photo's file tells"
    )
    near: str | None = Field(None, max_length=60, description="LAT,LON; with within")
    within: float | None = Field(
        None, gt=0, le=HALF_ROUND_KM, allow_inf_nan=False, description="kilometres around near"
    )
    places: int = Field(10, ge=1, le=100)

    def hints(self) -> Hints:
        """As locating takes them; raises :class:`InvalidValue` for what does not fit together."""
        return Hints(
            fov_deg=self.fov,
            heading_deg=self.heading,
            near=None if self.near is None else latlon_from_text(self.near),
            within_m=None if self.within is None else 1000.0 * self.within,
            places=self.places,
            ignore_direction=self.ignore_direction,
        )


class AskedBatch(Asked):
    """Hints, and how much of each answer is told."""

    heat: bool = Field(False, description="add the scores of all cells, see /cells")
    view: bool = Field(False, description="add a picture of what the model saw of the photo")


class AskedPlaces(AskedBatch):
    """Hints, how much is told, and as what."""

    format: Format = "json"


class AskedHeat(Asked):
    """Hints, and how many windows are told."""

    most: int = Field(2000, ge=1, le=100_000, description="the best so many windows")
