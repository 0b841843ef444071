"""Answers in a notebook: a table with pictures, GeoJSON, and rows for geopandas."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from crossview.errors import CrossviewError, UsageError
from crossview.index.store import Index
from crossview.localization.answer import Answer
from crossview.outputs import records
from crossview.outputs.geojson import to_geojson
from crossview.outputs.text import choose_columns, format_cells
from crossview.texts import phrase

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SHOWN_PLACES = 5
_TEMPLATE = """\
<p><b>{{ photo }}</b>: {{ confidence }}</p>
{% if claim %}<p>{{ claim }}</p>
{% endif %}<table>
<thead><tr><th></th>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for picture, link, cells in rows %}<tr><td>{% if picture %}\
<img alt="" width="72" src="data:image/jpeg;base64,{{ picture }}">{% endif %}</td>\
{% for cell in cells %}<td>{% if loop.first %}<a href="{{ link }}">{{ cell }}</a>\
{% else %}{{ cell }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% for remark in remarks %}<p><small>{{ remark }}</small></p>
{% endfor %}"""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class NotebookAnswer(Answer):
    """An :class:`Answer` that a notebook shows as a table, and that other programs can take."""

    index: Index = field(repr=False)  # for pictures of the places

    @staticmethod
    def of(answer: Answer, index: Index) -> NotebookAnswer:
        """The same answer, and the index that it came from."""
        values = {each.name: getattr(answer, each.name) for each in fields(Answer)}
        return NotebookAnswer(**values, index=index)

    def to_geojson(self, *, footprints: bool = False) -> str:
        """The answer as a GeoJSON FeatureCollection; see ``outputs.geojson``."""
        return to_geojson([self], footprints=footprints)

    def to_geodataframe(self) -> GeoDataFrame:
        """A row per place, best first: :func:`to_geodataframe`."""
        return to_geodataframe([self])

    def _repr_html_(self) -> str:
        """The best places as a table with their pictures; every text is escaped."""
        places = self.places[:SHOWN_PLACES]
        place_records = [records.describe_place(place, self.truth) for place in places]
        optional = choose_columns([place_records])
        rows = [
            (self._read_picture(place.window), records.make_map_link(place.latlon), cells)
            for place, cells in zip(
                places, (format_cells(record, optional) for record in place_records), strict=True
            )
        ]
        (name,) = records.shorten_names([self.photo])
        advice = [phrase("advice.heading")] if self.heading_wanted else []
        template = Environment(autoescape=True).from_string(_TEMPLATE)
        return template.render(
            photo=name,
            confidence=records.explain_confidence(self),
            claim="" if self.claim is None else records.explain_claim(self.claim),
            columns=["place", "latitude", "longitude", "score", *optional],
            rows=rows,
            remarks=records.drop_repeats([*advice, *self.warnings, *self.assumptions]),
        )

    def _read_picture(self, window: int) -> str:
        """A window's thumbnail as base64; "" where the index is gone or has none."""
        try:
            return base64.b64encode(self.index.thumbnail(window)).decode("ascii")
        except CrossviewError:
            return ""


def to_geodataframe(answers: Iterable[Answer]) -> GeoDataFrame:
    """A row per place of all answers, as points in EPSG:4326 with the columns of every format.

    Photos without places have no row. Raises :class:`UsageError` where geopandas is not installed.
    """
    try:
        from geopandas import GeoDataFrame
    except ImportError as problem:
        raise UsageError(
            "to_geodataframe needs geopandas, which is not installed.\n"
            "Install it with: pip install 'crossview[geo]'"
        ) from problem
    features = list(_list_places(answers))
    if not features:
        return GeoDataFrame({"geometry": []}, crs="EPSG:4326")
    return GeoDataFrame.from_features(features, crs="EPSG:4326").drop(columns="role")


def _list_places(answers: Iterable[Answer]) -> Iterator[dict[str, Any]]:
    collection = json.loads(to_geojson(answers))
    return (each for each in collection["features"] if each["properties"]["role"] == "place")
