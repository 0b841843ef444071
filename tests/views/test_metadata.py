import math

import pytest
from PIL import Image, TiffImagePlugin

from crossview.views import metadata
from crossview.views.decode import load_photo
from crossview.views.metadata import gpano, photo_fov_deg

PHONE, SENSOR = {0xA405: 26}, {0x920A: 4.25, 0xA20E: 6000.0, 0xA210: 3}


class Exif:
    def __init__(self, part):
        self.part = part

    def get_ifd(self, tag):
        return self.part if tag == 0x8769 else {}


def fov(part, size):
    return photo_fov_deg(Exif(part), size)


def test_a_35_mm_equivalent_belongs_to_a_frame_36_mm_wide():
    assert fov({0xA405: 18}, (640, 480)) == pytest.approx(90.0)
    assert fov(PHONE, (4000, 3000)) == pytest.approx(2 * math.degrees(math.atan(18 / 26)))


def test_an_upright_photo_sees_the_short_side_of_the_frame():
    across = 2 * math.degrees(math.atan(12 / 26))
    assert fov(PHONE, (2000, 3000)) == pytest.approx(across)


def test_focal_length_over_sensor_width_tells_too():
    sensor_mm = 3000 / 6000 * 10
    expected = 2 * math.degrees(math.atan(sensor_mm / 2 / 4.25))
    assert fov(SENSOR, (3000, 2000)) == pytest.approx(expected)


def test_a_resized_photo_keeps_its_field_of_view():
    taken = {**SENSOR, 0xA002: 3000, 0xA003: 2000}
    assert fov(taken, (600, 400)) == pytest.approx(fov(SENSOR, (3000, 2000)))


def test_a_cut_photo_has_none():
    assert fov({**PHONE, 0xA002: 4000, 0xA003: 3000}, (3000, 3000)) is None


def test_the_exact_focal_length_counts_where_both_agree():
    exact = {0xA405: 39, 0x920A: 38.6, 0xA20E: 640 / 3.6, 0xA210: 3}
    assert fov(exact, (640, 480)) == pytest.approx(2 * math.degrees(math.atan(18 / 38.6)))
    assert fov({**exact, 0xA20E: 9000.0}, (640, 480)) == pytest.approx(
        2 * math.degrees(math.atan(18 / 39))
    )


@pytest.mark.parametrize(
    "part",
    [{}, {0xA405: 0}, {0x920A: 4.25}, {0xA405: "x"}, {0xA405: float("nan")}, {0xA405: 0.001},
     {0x920A: TiffImagePlugin.IFDRational(0, 0), 0xA20E: 1.0}],
)  # fmt: skip
def test_unknown_or_absurd_focal_lengths_are_unknown(part):
    assert fov(part, (640, 480)) is None


def saved(tmp_path, **changes):
    exif = Image.Exif()
    gps = {1: "S", 2: (12.0, 15.0, 36.0), 3: "E", 4: (60.0, 30.0, 0.0), 16: "T", 17: 271.5}
    exif[0x8825] = {**gps, **changes}
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48)).save(path, exif=exif)
    return load_photo(path)


def test_gps_is_read_with_its_hemispheres(tmp_path):
    photo = saved(tmp_path)
    assert (photo.gps.lat, photo.gps.lon) == pytest.approx((-12.26, 60.5))
    assert photo.gps_heading_deg == pytest.approx(271.5)


@pytest.mark.parametrize(
    ("changes", "gps", "heading"),
    [
        ({16: "M"}, True, False),
        ({2: (95.0, 0.0, 0.0)}, False, True),
        ({2: (0.0, 0.0)}, False, True),
    ],
)
def test_magnetic_headings_and_absurd_places_are_unknown(changes, gps, heading):
    part = {1: "N", 2: (12.0, 15.0, 36.0), 3: "W", 4: (60.0, 30.0, 0.0), 17: 10.0, **changes}
    exif = Exif({})
    exif.get_ifd = lambda tag: part
    place, bearing = metadata.gps(exif)
    assert ((place is not None), (bearing is not None)) == (gps, heading)


def xmp(**facts):
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in facts.items())
    return f'<rdf:Description GPano:ProjectionType="equirectangular" {attributes}/>'


PART = {
    "FullPanoWidthPixels": 8000, "FullPanoHeightPixels": 4000, "CroppedAreaImageWidthPixels": 4000,
    "CroppedAreaImageHeightPixels": 1000, "CroppedAreaLeftPixels": 0, "CroppedAreaTopPixels": 1400,
}  # fmt: skip


def test_part_of_a_panorama_is_placed_by_gpano_even_if_resized():
    found = gpano(xmp(**PART, PoseHeadingDegrees=100), (2000, 500))
    assert found.fov_deg == 180.0
    assert found.horizon_px == (2000 - 1400) / 2
    assert found.heading_deg == pytest.approx(10.0)  # 90 degrees left of the whole's middle


def test_gpano_may_be_written_as_elements():
    text = "".join(f"<GPano:{k}>{v}</GPano:{k}>" for k, v in PART.items())
    whole = f"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>{text}"
    assert gpano(whole, (4000, 1000)).fov_deg == 180.0


def test_other_xmp_is_no_panorama():
    assert gpano("<x:xmpmeta/>", (200, 100)) is None
    assert gpano('GPano:ProjectionType="perspective"', (200, 100)) is None


def test_absurd_gpano_counts_as_a_whole_panorama():
    absurd = {**PART, "CroppedAreaImageWidthPixels": 9999, "CroppedAreaImageHeightPixels": 9999}
    found = gpano(xmp(**absurd), (2000, 500))
    assert (found.fov_deg, found.horizon_px) == (360.0, 250.0)


def test_a_gpano_file_is_a_panorama_whatever_its_shape(tmp_path):
    path = tmp_path / "part.jpg"
    Image.new("RGB", (400, 100)).save(path, xmp=xmp(**PART).encode())
    photo = load_photo(path)
    assert (photo.kind, photo.fov_deg) == ("panorama", 180.0)


def test_damaged_exif_does_not_matter(tmp_path, recwarn):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert load_photo(path).fov_deg is None
    assert len(recwarn) == 0
