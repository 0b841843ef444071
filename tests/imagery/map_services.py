"""A painted ground, and servers of it on loopback: XYZ tiles, a WMTS, a WMS, written by hand.

The colour of a place follows from its latitude and longitude alone, so that a pixel tells where it
lies, whatever grid it came through.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from tests.web_server import Answer, Asked

from crossview.geo.grids import RasterGrid, convert_to_wkt
from crossview.geo.mercator import build_tile_grid

WEST, SOUTH, EAST, NORTH = 13.3700, 52.5000, 13.3740, 52.5020  # about 270 x 220 m in Berlin
BOX = f"{WEST},{SOUTH},{EAST},{NORTH}"
OGC = 'xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1" '
OGC += 'xmlns:xlink="http://www.w3.org/1999/xlink"'
STEP_DEG = 0.0002


def paint_places(lat, lon):
    """RGB [..., 3] of places: fine steps of latitude and longitude, and a pattern of both."""
    east, north = (lon / STEP_DEG) % 1.0, (lat / STEP_DEG) % 1.0
    pattern = (np.floor(lon / STEP_DEG) * 7 + np.floor(lat / STEP_DEG) * 13) % 11 / 11.0
    return np.stack([255 * east, 255 * north, 255 * pattern], axis=-1).astype(np.uint8)


def paint(grid: RasterGrid) -> bytes:
    """A PNG of the ground on a grid."""
    columns, rows = np.meshgrid(np.arange(grid.width_px) + 0.5, np.arange(grid.height_px) + 0.5)
    lat, lon = grid.latlon(columns, rows)
    file = io.BytesIO()
    Image.fromarray(paint_places(lat, lon)).save(file, "PNG")
    return file.getvalue()


def paint_tile(zoom: int, x: int, y: int) -> bytes:
    return paint(build_tile_grid(zoom, (x, y), (x, y), 256))


@dataclass
class XyzService:
    """``/z/x/y.png``; ``trouble`` may answer in its place, and counts from 1."""

    deepest: int = 20
    trouble: object = None
    count: int = 0
    made: dict = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Answer:
        self.count += 1
        if self.trouble is not None and (said := self.trouble(self.count, asked)) is not None:
            return said
        zoom, x, y = (int(part) for part in asked.path.removesuffix(".png").split("/")[-3:])
        if zoom > self.deepest:
            return Answer(b"no", 404)
        key = (zoom, x, y)
        if key not in self.made:
            self.made[key] = paint_tile(*key)
        return Answer(self.made[key])


UTM = "EPSG:25833"
UTM_LEFT, UTM_TOP, UTM_PX = 380_000.0, 5_830_000.0, 0.2  # of the WMTS, at its finest matrix


def _matrix(name, px, columns, rows, corner, limits=None):
    return f"""<TileMatrix><ows:Identifier>{name}</ows:Identifier>
<ScaleDenominator>{px / 0.00028!r}</ScaleDenominator><TopLeftCorner>{corner}</TopLeftCorner>
<TileWidth>256</TileWidth><TileHeight>256</TileHeight>
<MatrixWidth>{columns}</MatrixWidth><MatrixHeight>{rows}</MatrixHeight></TileMatrix>"""


def _mercator_matrices():
    half = 20037508.342789244
    return "".join(
        _matrix(str(z), 2 * half / 256 / 2**z, 2**z, 2**z, f"{-half} {half}") for z in (0, 17, 19)
    )


def write_wmts(address: str, *, rest: bool = True, mercator: bool = True) -> bytes:
    """Capabilities with a layer in Web Mercator and UTM, or in UTM alone, by templates or names."""
    template = f"{address}/rest/{{Style}}/{{Time}}/{{TileMatrixSet}}/{{TileMatrix}}/"
    template += "{TileRow}/{TileCol}.png"
    resource = f'<ResourceURL format="image/png" resourceType="tile" template="{template}"/>'
    operation = f"""<ows:OperationsMetadata><ows:Operation name="GetTile"><ows:DCP><ows:HTTP>
<ows:Get xlink:href="{address}/kvp?"><ows:Constraint name="GetEncoding"><ows:AllowedValues>
<ows:Value>KVP</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get></ows:HTTP></ows:DCP>
</ows:Operation></ows:OperationsMetadata>"""
    sets = "<TileMatrixSetLink><TileMatrixSet>utm</TileMatrixSet></TileMatrixSetLink>"
    if mercator:
        sets += "<TileMatrixSetLink><TileMatrixSet>web</TileMatrixSet></TileMatrixSetLink>"
    utm = _matrix("fine", UTM_PX, 400, 400, f"{UTM_LEFT} {UTM_TOP}")
    utm += _matrix("rough", 8 * UTM_PX, 50, 50, f"{UTM_LEFT} {UTM_TOP}")
    return f"""<?xml version="1.0"?><Capabilities {OGC} version="1.0.0">
<ows:ServiceIdentification><ows:Title>Painted</ows:Title><ows:ServiceType>OGC WMTS</ows:ServiceType>
<ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion><ows:Fees>none</ows:Fees>
<ows:AccessConstraints>Licence of Paint 1.0</ows:AccessConstraints></ows:ServiceIdentification>
<ows:ServiceProvider><ows:ProviderName>Office of Paint</ows:ProviderName></ows:ServiceProvider>
{"" if rest else operation}
<Contents><Layer><ows:Title>Ortho</ows:Title><ows:WGS84BoundingBox>
<ows:LowerCorner>13 52</ows:LowerCorner><ows:UpperCorner>14 53</ows:UpperCorner>
</ows:WGS84BoundingBox><ows:Identifier>ortho</ows:Identifier>
<Style isDefault="true"><ows:Identifier>plain</ows:Identifier></Style>
<Format>image/png</Format>
<Dimension><ows:Identifier>Time</ows:Identifier><Default>2023</Default><Value>2023</Value></Dimension>
{sets}{resource if rest else ""}</Layer>
<TileMatrixSet><ows:Identifier>web</ows:Identifier>
<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{_mercator_matrices()}</TileMatrixSet>
<TileMatrixSet><ows:Identifier>utm</ows:Identifier>
<ows:SupportedCRS>urn:ogc:def:crs:{UTM.replace(":", "::")}</ows:SupportedCRS>{utm}</TileMatrixSet>
</Contents></Capabilities>""".encode()


def answer_wmts(asked: Asked, address: str, **said: bool) -> Answer:
    if "capabilities" in asked.path.lower() or asked.query.get("request") == "GetCapabilities":
        return Answer(write_wmts(address, **said))
    if asked.path == "/kvp":
        words = [asked.query[n] for n in ("style", "time", "tilematrixset", "tilematrix",
                                          "tilerow", "tilecol")]  # fmt: skip
        assert asked.query["request"] == "GetTile"
        assert asked.query["layer"] == "ortho"
    else:
        words = asked.path.removesuffix(".png").split("/")[2:]
    style, time, set_name, matrix, row, column = words
    assert (style, time) == ("plain", "2023")
    if set_name == "web":
        return Answer(paint_tile(int(matrix), int(column), int(row)))
    px = {"fine": UTM_PX, "rough": 8 * UTM_PX}[matrix]
    left, top = UTM_LEFT + int(column) * 256 * px, UTM_TOP - int(row) * 256 * px
    return Answer(paint(RasterGrid(convert_to_wkt(UTM), (px, 0, left, 0, -px, top), 256, 256)))


def write_wms(address: str, version: str, crs: str) -> bytes:
    """Capabilities of two layers, the pictures of which have at most 512 pixels a side."""
    newer = version == "1.3.0"
    root = "WMS_Capabilities" if newer else "WMT_MS_Capabilities"
    space = 'xmlns="http://www.opengis.net/wms" ' if newer else ""
    kind = "CRS" if newer else "SRS"
    limit = "<MaxWidth>512</MaxWidth><MaxHeight>512</MaxHeight>" if newer else ""
    doctype = '<!DOCTYPE WMT_MS_Capabilities SYSTEM "http://127.0.0.1:9/no.dtd">'
    box = ("<EX_GeographicBoundingBox><westBoundLongitude>13</westBoundLongitude>"
           "<eastBoundLongitude>14</eastBoundLongitude><southBoundLatitude>52</southBoundLatitude>"
           "<northBoundLatitude>53</northBoundLatitude></EX_GeographicBoundingBox>" if newer else
           '<LatLonBoundingBox minx="13" miny="52" maxx="14" maxy="53"/>')  # fmt: skip
    get = '<DCPType><HTTP><Get><OnlineResource xmlns:xlink="http://www.w3.org/1999/xlink" '
    get += f'xlink:type="simple" xlink:href="{address}/map?"/></Get></HTTP></DCPType>'
    return f"""<?xml version="1.0"?>{"" if newer else doctype}
<{root} {space}version="{version}"><Service><Name>WMS</Name><Title>Painted</Title>
<OnlineResource xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="{address}"/>
<Fees>none</Fees><AccessConstraints>Licence of Paint 1.0</AccessConstraints>{limit}</Service>
<Capability><Request><GetCapabilities><Format>text/xml</Format>{get}</GetCapabilities>
<GetMap><Format>image/png</Format>{get}</GetMap></Request><Exception><Format>XML</Format></Exception>
<Layer><Title>All</Title><{kind}>{crs}</{kind}>{box}
<Layer><Name>dop</Name><Title>Ortho</Title></Layer>
<Layer><Name>map</Name><Title>Map</Title></Layer></Layer></Capability></{root}>""".encode()


def answer_wms(asked: Asked, address: str, version: str, crs: str) -> Answer:
    """GetMap as the standard says: in 1.3.0 the box is written in the order of the axes."""
    if asked.query.get("request") == "GetCapabilities":
        return Answer(write_wms(address, version, crs))
    query = asked.query
    assert (query["request"], query["layers"], query["version"]) == ("GetMap", "dop", version)
    assert query["crs" if version == "1.3.0" else "srs"] == crs
    width, height = int(query["width"]), int(query["height"])
    if version == "1.3.0" and max(width, height) > 512:
        return Answer(b"<ServiceExceptionReport><ServiceException>too large</ServiceException>"
                      b"</ServiceExceptionReport>")  # fmt: skip
    ends = [float(part) for part in query["bbox"].split(",")]
    if version == "1.3.0" and crs in ("EPSG:4326", "EPSG:31468"):
        ends = [ends[1], ends[0], ends[3], ends[2]]
    west, south, east, north = ends
    assert crs != "EPSG:3857" or 1_400_000 < west < east < 1_600_000
    grid = RasterGrid(
        convert_to_wkt("OGC:CRS84" if crs == "CRS:84" else crs),
        ((east - west) / width, 0.0, west, 0.0, (south - north) / height, north),
        width, height,
    )  # fmt: skip
    return Answer(paint(grid))
