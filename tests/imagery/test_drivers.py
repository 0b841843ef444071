"""A file is opened for what it holds; nothing that it names is asked for or read."""

import socket

import numpy as np
import pytest
import rasterio
from PIL import Image
from tests.imagery.georeferenced import draw_positions, geotiff
from typer.testing import CliRunner

from crossview.cli import app
from crossview.errors import BadImagery
from crossview.imagery.provenance import SourceOptions
from crossview.imagery.sources import open_sources
from crossview.worlds.write import is_synthetic_map

SOURCE = (
    "<SimpleSource><SourceFilename {how}>{name}</SourceFilename><SourceBand>1</SourceBand>"
    '<SrcRect xOff="0" yOff="0" xSize="60" ySize="40"/>'
    '<DstRect xOff="0" yOff="0" xSize="60" ySize="40"/></SimpleSource>'
)


def vrt(name, how='relativeToVRT="1"', *, band="", sources=None):
    """A VRT of one band that shows one file."""
    return (
        '<VRTDataset rasterXSize="60" rasterYSize="40"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>391000, 0.5, 0, 5820000, 0, -0.5</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1" {band}>'
        f"{sources or SOURCE.format(how=how, name=name)}</VRTRasterBand></VRTDataset>"
    )


@pytest.fixture
def listener():
    """The address of a port that answers nothing; at the end nobody may have knocked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def strange(address):
    """Texts that GDAL takes for rasters: each asks for a file or an address."""
    return {
        "vrt of an address": vrt(f"/vsicurl/{address}/a.tif", ""),
        "raw vrt of a file": vrt("", band='subClass="VRTRawRasterBand"', sources=(
            "<SourceFilename>/etc/passwd</SourceFilename><ImageOffset>0</ImageOffset>"
        )),
        "wms": f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png'
               "</ServerUrl></Service><DataWindow><UpperLeftX>-20037508.34</UpperLeftX>"
               "<UpperLeftY>20037508.34</UpperLeftY><LowerRightX>20037508.34</LowerRightX>"
               "<LowerRightY>-20037508.34</LowerRightY><TileLevel>9</TileLevel><TileCountX>1"
               "</TileCountX><TileCountY>1</TileCountY></DataWindow></GDAL_WMS>",
        "wmts": f"<GDAL_WMTS><GetCapabilitiesUrl>{address}/wmts</GetCapabilitiesUrl></GDAL_WMTS>",
        "wcs": f"<WCS_GDAL><ServiceURL>{address}/wcs?</ServiceURL></WCS_GDAL>",
        "tile index": f"<GDALTileIndexDataset><IndexDataset>/vsicurl/{address}/i.gpkg"
                      "</IndexDataset></GDALTileIndexDataset>",
        "stacta": f'{{"stac_version": "1.0.0", "stac_extensions": ["tiled-assets"], '
                  f'"properties": {{"tiles:tile_matrix_sets": "{address}"}}, "type": "Feature"}}',
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}/a.png"/></svg>',
        "pdf": f"%PDF-1.7\n1 0 obj <</URI ({address})>>",
        "netcdf": "CDF\x01\0\0\0\0",
        "nothing": "",
    }  # fmt: skip


@pytest.mark.parametrize("kind", strange(""))
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jp2", ".img"])
def test_text_that_names_files_or_addresses_is_refused_under_any_name(
    tmp_path, listener, kind, suffix
):
    path = tmp_path / f"a{suffix}"
    path.write_text(strange(listener)[kind], encoding="latin-1")
    (tmp_path / "list.csv").write_text(f"file,lat,lon,width_m\n{path.name},52.5,13.4,30\n")
    for source in (path, tmp_path, tmp_path / "list.csv"):
        for options in (SourceOptions(), SourceOptions(allow_vrt=True)):
            with pytest.raises(BadImagery, match="read"):
                open_sources([source], options)
    assert not is_synthetic_map(path)


def test_index_tells_in_words_that_a_vrt_under_another_name_is_not_read(tmp_path, listener):
    path = tmp_path / "a.tif"
    path.write_text(strange(listener)["vrt of an address"])
    ran = CliRunner().invoke(app, ["index", str(path), "--out", str(tmp_path / "a.cvx")])
    assert ran.exit_code == 1
    assert not (tmp_path / "a.cvx").exists()


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/{}/a.tif", "{}/a.tif", "NETCDF:a.nc:x", "GTIFF_DIR:1:a.tif", "WMTS:{}", "vrt://a.tif",
        "/vsizip/a.zip/a.tif", "zip://a.zip!a.tif",
    ],
)  # fmt: skip
def test_names_that_mean_something_to_gdal_only_are_files_that_do_not_exist(
    tmp_path, listener, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    with pytest.raises(BadImagery, match="There is no"):
        open_sources([name.format(listener)])


@pytest.mark.parametrize("ending", [".ovr", ".OVR", ".msk", ".MSK"])
def test_what_lies_beside_a_raster_must_be_a_raster(tmp_path, listener, ending):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    (tmp_path / f"a.tif{ending}").write_text(vrt(f"/vsicurl/{listener}/a.tif", ""))
    with pytest.raises(BadImagery, match=r"a\.tif\.\w+ belongs to it and is not a plain raster"):
        open_sources([path])


def test_a_raster_beside_a_raster_has_nothing_strange_beside_it_either(tmp_path, listener):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    geotiff(tmp_path / "a.tif.ovr", draw_positions(20, 30))
    (tmp_path / "a.tif.ovr.msk").write_text(vrt(f"/vsicurl/{listener}/a.tif", ""))
    with pytest.raises(BadImagery, match="not a plain raster"):
        open_sources([path])


@pytest.mark.parametrize("where", ["in the file", "in the file beside"])
def test_smaller_copies_in_another_file_are_refused(tmp_path, listener, where):
    path = geotiff(tmp_path / "a.tif", draw_positions(40, 60))
    other = f"/vsicurl/{listener}/a.tif"
    if where == "in the file":
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=other)
    else:
        (tmp_path / "a.tif.aux.xml").write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS">'
            f'<MDI key="OVERVIEW_FILE">{other}</MDI></Metadata></PAMDataset>'
        )
    with pytest.raises(BadImagery, match="names another file for its smaller copies"):
        open_sources([path])


def test_overviews_and_masks_beside_a_raster_are_used_as_ever(tmp_path):
    path = geotiff(tmp_path / "a.tif", draw_positions(512, 512))
    mask = np.full((512, 512), 255, np.uint8)
    mask[:100] = 0
    with (
        rasterio.Env(TIFF_USE_OVR=True, GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(path, "r+") as raster,
    ):
        raster.write_mask(mask)
        raster.build_overviews([2], rasterio.enums.Resampling.nearest)
    assert (tmp_path / "a.tif.msk").exists()
    with open_sources([path]) as imagery:
        (sheet,) = imagery.sheets
        patch = sheet.store.read(sheet.box)
    assert np.array_equal(patch.valid, mask)
    assert np.array_equal(patch.pixels, draw_positions(512, 512))


@pytest.mark.parametrize(("driver", "made_as"), [("GTiff", ".png"), ("PNG", ".tif")])
def test_the_content_of_a_plain_raster_counts_not_its_suffix(tmp_path, driver, made_as):
    path = tmp_path / f"a{made_as}"
    facts = {"height": 40, "width": 60, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver=driver, **facts) as raster:
        raster.write(np.moveaxis(draw_positions(40, 60), -1, 0))
    (tmp_path / "list.csv").write_text(f"file,lat,lon,width_m\n{path.name},52.5,13.4,30\n")
    with open_sources([tmp_path / "list.csv"]) as imagery:
        (sheet,) = imagery.sheets
        assert np.array_equal(sheet.store.read(sheet.box).pixels, draw_positions(40, 60))


class TestVrt:
    """Lists of other files are read when asked for, and then those in their own folder."""

    def test_one_of_local_files_is_read_with_the_option_only(self, tmp_path):
        (tmp_path / "tiles").mkdir()
        geotiff(tmp_path / "tiles" / "a.tif", draw_positions(40, 60))
        path = tmp_path / "all.vrt"
        path.write_text(vrt("tiles/a.tif"))
        with pytest.raises(BadImagery, match="--allow-vrt"):
            open_sources([path])
        with open_sources([path], SourceOptions(allow_vrt=True)) as imagery:
            (sheet,) = imagery.sheets
            red = sheet.store.read(sheet.box).pixels[..., 0]
        assert np.array_equal(red, draw_positions(40, 60)[..., 0])

    def test_one_may_show_another(self, tmp_path):
        geotiff(tmp_path / "a.tif", draw_positions(40, 60))
        (tmp_path / "b.vrt").write_text(vrt("a.tif"))
        (tmp_path / "c.vrt").write_text(vrt("b.vrt"))
        with open_sources([tmp_path / "c.vrt"], SourceOptions(allow_vrt=True)) as imagery:
            assert imagery.sheets[0].grid.width_px == 60

    def test_one_beside_its_files_is_left_out_of_the_folder_with_a_note(self, tmp_path):
        geotiff(tmp_path / "a.tif", draw_positions(40, 60))
        (tmp_path / "all.vrt").write_text(vrt("a.tif"))
        with open_sources([tmp_path]) as imagery:
            assert "all.vrt was left out" in imagery.notes[0]
            assert len(imagery.parts) == 1

    @pytest.mark.parametrize(
        "name",
        [
            "/etc/passwd", "../secret.tif", "x/../../secret.tif", "out.tif", "self.vrt",
            "/vsicurl/{}/a.tif", "GTIFF_DIR:1:a.tif", "vrt://a.tif", "&lt;VRTDataset/&gt;",
            "text.tif", "both.jpg", "missing.tif", "",
        ],
    )  # fmt: skip
    def test_nothing_else_is_read(self, tmp_path, listener, name):
        geotiff(tmp_path / "secret.tif", draw_positions(40, 60))
        folder = tmp_path / "given"
        folder.mkdir()
        geotiff(folder / "a.tif", draw_positions(40, 60))
        (folder / "out.tif").symlink_to(tmp_path / "secret.tif")
        (folder / "text.tif").write_text(vrt(f"/vsicurl/{listener}/a.tif", ""))
        polyglot = vrt(f"/vsicurl/{listener}/a.tif", "").encode()
        (folder / "both.jpg").write_bytes(b"\xff\xd8\xff\xfe  " + polyglot)
        path = folder / "self.vrt"
        for how in ('relativeToVRT="1"', 'relativeToVRT="0"', ""):
            path.write_text(vrt(name.format(listener), how))
            with pytest.raises(BadImagery):
                open_sources([path], SourceOptions(allow_vrt=True))

    @pytest.mark.parametrize(
        "text",
        [
            vrt("a.tif", band='subClass="VRTDerivedRasterBand"'),
            vrt("a.tif").replace("<SRS>", "<PixelFunctionCode>1</PixelFunctionCode><SRS>"),
            vrt("a.tif").replace("<VRTDataset", '<VRTDataset subClass="VRTWarpedDataset"'),
            vrt("a.tif").replace("<SRS>", '<Metadata domain="OVERVIEWS"/><SRS>'),
            vrt("a.tif").replace("<SourceBand>", "<OpenOptions/><SourceBand>"),
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + vrt("&b;"),
            "<VRTDataset",
        ],
    )
    def test_code_warps_and_options_are_refused(self, tmp_path, text):
        geotiff(tmp_path / "a.tif", draw_positions(40, 60))
        path = tmp_path / "a.vrt"
        path.write_text(text)
        with pytest.raises(BadImagery, match=r"a\.vrt"):
            open_sources([path], SourceOptions(allow_vrt=True))


def test_a_jpeg_of_very_many_passes_is_refused_as_imagery_too(tmp_path):
    Image.new("RGB", (640, 640)).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    last = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:-2] + data[last:-2] * 2000 + data[-2:])
    (tmp_path / "list.csv").write_text("file,lat,lon,width_m\na.jpg,52.5,13.4,30\n")
    with pytest.raises(BadImagery, match=r"a\.jpg needs more than \d+ passes"):
        open_sources([tmp_path / "list.csv"])
