"""Responses: answers and regions as the JSON that the API sends."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from crossview.arrays import U8
from crossview.files import printable
from crossview.geo.components import split_regions
from crossview.geo.mercator import enclose_points
from crossview.geo.points import build_geometry
from crossview.hub import drop_folders
from crossview.localization.answer import Answer
from crossview.localization.posterior import compute_posterior
from crossview.outputs.map_layers import describe_heat_grid, describe_scores
from crossview.outputs.map_page import outline_smallest_area
from crossview.outputs.records import (
    describe_answer,
    describe_footprint,
    describe_place,
    describe_view,
    stands_out,
)
from crossview.service.photo_queue import PhotoResult
from crossview.service.regions import Region

_HIDDEN = ("truth", "error_m")


def build_region(region: Region) -> dict[str, Any]:
    """A region in figures; nothing of where its files lie."""
    index, manifest = region.index, region.index.manifest
    box, model = region.tiles.extent, region.embedder.info
    return {
        "name": region.name,
        "tiles": index.count,
        "area_km2": round(manifest.area_km2, 4),
        "bounds": [round(v, 7) for v in box.bounds],
        "footprint_m": manifest.footprint_m,
        "stride_m": manifest.stride_m,
        "metres_per_px": manifest.metres_per_px,
        "attribution": printable(manifest.imagery.attribution or ""),
        "date": printable(manifest.imagery.date or ""),
        "model": printable(drop_folders(manifest.model.name_or_path)),
        "model_fingerprint": manifest.model.fingerprint,
        "model_trained_on": printable(model.training_data),
        "model_licence": printable(model.licence),
        "model_attributions": [printable(text) for text in model.attributions],
        "synthetic_model": manifest.model_synthetic,
        "synthetic_imagery": manifest.imagery.synthetic is not None,
        "uses_heading": region.uses_heading,
        "fov_seen_deg": [float(v) for v in model.fov_seen_deg],
        "warnings": [printable(text) for text in manifest.warnings],
        "deepest_zoom": region.tiles.max_zoom,
        "version": make_version(region),
    }


def make_version(region: Region) -> str:
    """A short text that changes when the index does; for caches."""
    manifest = region.index.manifest
    segments = ",".join(segment.name for segment in manifest.segments)
    calibrated = (manifest.calibration or {}).get("created", "")
    contents = hashlib.sha256(f"{manifest.created}{segments}{calibrated}".encode()).hexdigest()
    return f"{manifest.model.fingerprint[:8]}-{contents[:8]}"


def build_answer(photo: PhotoResult, *, heat: bool, view: bool) -> dict[str, Any]:
    """One photo's answer as plain JSON values."""
    answer = photo.answer
    record = {k: v for k, v in describe_answer(answer).items() if k not in _HIDDEN}
    record["stands_out"] = stands_out(answer)
    record["places"] = [
        {**describe_place(place, None), "footprint": describe_footprint(place.footprint)}
        for place in answer.places
    ]
    if heat:
        for told, place in zip(record["places"], answer.places, strict=True):
            if (shape := describe_view(place, answer.fov_deg)) is not None:
                told["view"] = shape
        record["heat"] = _build_heat(answer, photo.region)
        if answer.confidence is not None:
            record["outline"] = outline_smallest_area(answer)
            areas = zip(record["calibrated"]["areas"], answer.confidence.areas, strict=True)
            for area_record, area in areas:
                area_record["windows"] = _encode_base64(area.rows.astype("<u4").tobytes())
    if view:
        record["view"] = _make_data_url(photo.strip)
    return record


def _build_heat(answer: Answer, region: Region) -> dict[str, object] | None:
    """Codes of all cells: of the posterior where the answer is calibrated, else of the scores."""
    posterior = compute_posterior(region.index, answer)
    if posterior is not None:
        shown = np.where(np.isfinite(answer.scores), posterior, np.nan)
        answer = replace(answer, scores=shown.astype(np.float32))
    record = describe_scores(answer, region.cells)
    return record and {"of": "scores" if posterior is None else "posterior", **record}


def build_cells(region: Region) -> dict[str, object]:
    """Where the cells lie."""
    return describe_heat_grid(region.cells)


def build_coverage(region: Region) -> dict[str, Any]:
    """A GeoJSON feature per part of the region whose windows lie together: the box around them."""
    index = region.index
    footprint_m = index.manifest.footprint_m
    features = []
    for rows in split_regions(index.lat, index.lon, gap_m=4.0 * footprint_m):
        box = enclose_points(index.lat[rows], index.lon[rows], footprint_m / 2.0)
        ring = [
            (box.west, box.south), (box.east, box.south), (box.east, box.north),
            (box.west, box.north), (box.west, box.south),
        ]  # fmt: skip
        geometry = build_geometry([[[(round(lon, 7), round(lat, 7)) for lon, lat in ring]]])
        features.append(
            {"type": "Feature", "geometry": geometry, "properties": {"tiles": len(rows)}}
        )
    return {"type": "FeatureCollection", "features": features}


def build_scores(answer: Answer, region: Region, most: int) -> dict[str, Any]:
    """The best ``most`` windows of an answer as GeoJSON points with their scores."""
    scores = np.where(np.isfinite(answer.scores), answer.scores, -np.inf)
    rows = np.argsort(-scores, kind="stable")[:most]
    posterior = compute_posterior(region.index, answer)
    features = []
    for row in rows[np.isfinite(scores[rows])]:
        lon, lat = float(region.index.lon[row]), float(region.index.lat[row])
        properties = {"window": int(row), "score": round(float(scores[row]), 6)}
        if posterior is not None:
            properties["probability"] = float(f"{posterior[row]:.6g}")
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [round(lon, 7), round(lat, 7)]},
                "properties": properties,
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _make_data_url(pixels: U8) -> str:
    """A small JPEG picture inside an address."""
    import simplejpeg

    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 85, colorsubsampling="420")
    return f"data:image/jpeg;base64,{_encode_base64(jpeg)}"


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
