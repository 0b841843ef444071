"""What a photo's file says wins over its shape, and what contradicts itself is unknown."""

import io
import math
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from crossview.views.decode import load_photo
from crossview.views.exif import (
    COMPASS_SIGMA_DEG,
    POSE_SIGMA_DEG,
    WIDE_FOV_DEG,
    WIDEST_LENS_RATIO,
    compute_photo_fov_deg,
    guess_facts,
    read_facts,
)

PHONE, SENSOR = {0xA405: 26}, {0x920A: 4.25, 0xA20E: 6000.0, 0xA210: 3}


class Exif:
    def __init__(self, part=None, gps=None):
        self.parts = {0x8769: part or {}, 0x8825: gps or {}}

    def get_ifd(self, tag):
        return self.parts[tag]


def fov(part, size):
    return compute_photo_fov_deg(part, size)[0]


# The lens.


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


def test_a_cut_photo_has_none_and_says_why():
    unknown, why = compute_photo_fov_deg({**PHONE, 0xA002: 4000, 0xA003: 3000}, (3000, 3000))
    assert unknown is None
    assert "4000 x 3000" in why
    assert "3000 x 3000" in why


def test_the_exact_focal_length_counts_where_both_agree():
    exact = {0xA405: 39, 0x920A: 38.6, 0xA20E: 640 / 3.6, 0xA210: 3}
    assert fov(exact, (640, 480)) == pytest.approx(2 * math.degrees(math.atan(18 / 38.6)))
    assert fov({**exact, 0xA20E: 9000.0}, (640, 480)) == pytest.approx(
        2 * math.degrees(math.atan(18 / 39))
    )


@pytest.mark.parametrize(("exact_mm", "counts_mm"), [(38.0, 38.0), (37.0, 39.0)])
def test_two_focal_lengths_agree_when_they_differ_by_less_than_4_percent(exact_mm, counts_mm):
    both = {0xA405: 39, 0x920A: exact_mm, 0xA20E: 640 / 3.6, 0xA210: 3}
    assert fov(both, (640, 480)) == pytest.approx(2 * math.degrees(math.atan(18 / counts_mm)))


@pytest.mark.parametrize(
    ("focal_mm", "known"), [(4, False), (5, True), (2000, True), (2100, False)]
)
def test_lenses_see_from_1_to_150_degrees(focal_mm, known):
    assert (fov({0xA405: focal_mm}, (640, 480)) is not None) is known


@pytest.mark.parametrize(
    "part",
    [{}, {0xA405: 0}, {0x920A: 4.25}, {0xA405: "x"}, {0xA405: float("nan")}, {0xA405: 0.001},
     {0xA405: -26}, {0x920A: TiffImagePlugin.IFDRational(0, 0), 0xA20E: 1.0}],
)  # fmt: skip
def test_unknown_or_absurd_focal_lengths_are_unknown(part):
    assert fov(part, (640, 480)) is None


# Shape against EXIF.


@pytest.mark.parametrize(
    ("part", "degrees"),
    [
        ({0xA405: 26, 0xA002: 4032, 0xA003: 2016}, 69.39),
        ({0xA405: 26}, 69.39),
        ({0x920A: 4.25}, None),
        ({0x829D: 1.8}, None),
        ({0xA434: "iPhone 12 back camera 4.2mm f/1.6"}, None),
        ({0xA432: (4.2, 4.2, 1.6, 1.6)}, None),
        ({0xA002: 4000, 0xA003: 3000}, None),
    ],
)
def test_a_photo_of_two_to_one_with_a_lens_in_its_file_is_not_a_panorama(part, degrees):
    facts = read_facts(Exif(part), [], (1008, 504))
    assert facts.kind == "perspective"
    assert facts.fov_deg == (pytest.approx(degrees, abs=0.01) if degrees else None)
    assert facts.also_try_fov_deg == (() if degrees else (360.0,))


def test_two_to_one_without_metadata_is_assumed_to_be_a_panorama_and_says_so():
    facts = guess_facts((1000, 500))
    assert (facts.kind, facts.fov_deg) == ("panorama", 360.0)
    assert "twice as wide as high" in facts.view_assumptions[0]
    nothing = {0xA405: 0, 0x829D: TiffImagePlugin.IFDRational(0, 0), 0xA434: "\0", 0xA432: (0, 0)}
    assert read_facts(Exif(nothing), [], (1000, 500)) == facts


@pytest.mark.parametrize("part", [{}, PHONE, {**PHONE, 0xA002: 5000, 0xA003: 1000}])
def test_a_stitched_picture_has_no_field_of_view_of_a_lens_and_360_degrees_are_tried(part):
    facts = read_facts(Exif(part), [], (5000, 1000))
    assert (facts.kind, facts.fov_deg) == ("perspective", None)
    assert facts.also_try_fov_deg == WIDE_FOV_DEG == (180.0, 360.0)
    assert "180 and 360 degrees are tried" in facts.view_assumptions[0]


def test_a_panorama_that_a_phone_stitched_is_none_of_its_lens_whatever_its_shape():
    for size in ((1000, 600), (1000, 500)):
        facts = read_facts(Exif({**PHONE, 0xA401: 6}), [], size)
        assert (facts.kind, facts.fov_deg) == ("perspective", None)
        assert facts.also_try_fov_deg == WIDE_FOV_DEG
        assert "stitched" in facts.view_assumptions[0]


def test_a_lens_takes_pictures_of_up_to_22_to_10():
    assert WIDEST_LENS_RATIO == 2.2
    assert read_facts(Exif(PHONE), [], (2200, 1000)).fov_deg is not None
    assert read_facts(Exif(PHONE), [], (2210, 1000)).fov_deg is None
    assert guess_facts((2190, 1000)).also_try_fov_deg == ()
    assert guess_facts((2210, 1000)).also_try_fov_deg == WIDE_FOV_DEG
    tall = read_facts(Exif(PHONE), [], (1000, 5000))
    assert (tall.fov_deg, tall.also_try_fov_deg) == (None, ())


def test_a_digital_zoom_is_said_because_files_do_not_tell_who_counted_it():
    found = read_facts(Exif({**PHONE, 0xA404: 2.0}), [], (4000, 3000))
    assert found.fov_deg == pytest.approx(69.39, abs=0.01)
    assert "digital zoom of 2" in found.view_assumptions[0]
    for none in (0, 1, 1.0):
        assert read_facts(Exif({**PHONE, 0xA404: none}), [], (4000, 3000)).view_assumptions == ()


# The place.


def rationals(*values):
    return tuple(TiffImagePlugin.IFDRational(round(v * 100), 100) for v in values)


UNSET = tuple(TiffImagePlugin.IFDRational(2**32 - 1, 2**32 - 1) for _ in range(3))
SOUTH, WEST = rationals(33, 52, 10), rationals(70, 30, 0)
MINUS_SOUTH, MINUS_WEST = rationals(-33, 52, 10), rationals(-70, 30, 0)


def place(lat_ref, lat, lon_ref, lon):
    tags = {1: lat_ref, 2: lat, 3: lon_ref, 4: lon}
    return read_facts(Exif(gps={k: v for k, v in tags.items() if v is not None}), [], (64, 48))


@pytest.mark.parametrize(
    ("lat_ref", "lon_ref"),
    [("S", "W"), ("s", "w"), ("South", "WEST"), (b"S\0", b"W\0"), ("S\0", " W "), ((83,), (87,))],
)
def test_hemispheres_are_read_however_they_are_written(lat_ref, lon_ref):
    for lat, lon in ((SOUTH, WEST), (MINUS_SOUTH, MINUS_WEST)):
        found = place(lat_ref, lat, lon_ref, lon).gps
        assert (found.lat, found.lon) == pytest.approx((-(33 + 52 / 60 + 10 / 3600), -70.5))


def test_the_sign_of_places_near_the_equator_stands_in_their_minutes():
    found = place("S", rationals(0, -30, 0), "W", rationals(0, 0, -36)).gps
    assert (found.lat, found.lon) == pytest.approx((-0.5, -0.01))


def test_signed_degrees_without_references_are_south_and_west():
    found = place(None, MINUS_SOUTH, None, MINUS_WEST).gps
    assert (found.lat, found.lon) == pytest.approx((-(33 + 52 / 60 + 10 / 3600), -70.5))


@pytest.mark.parametrize("ref", [None, "", b"\0\0", "\x01", "X", "O", "NS", 7])
def test_what_names_no_hemisphere_is_never_taken_for_north_or_east(ref):
    assert place(ref, SOUTH, "W", WEST).gps is None
    facts = place("S", SOUTH, ref, WEST)
    assert facts.gps is None
    assert "place unknown" in facts.assumptions[0]


@pytest.mark.parametrize(
    ("lat_ref", "lat", "lon_ref", "lon", "why"),
    [
        ("N", MINUS_SOUTH, "E", MINUS_WEST, "its reference says N"),
        ("N", rationals(95, 0, 0), "E", WEST, "no place on Earth"),
        ("N", SOUTH, "E", rationals(190, 0, 0), "no place on Earth"),
        ("N", rationals(0, 0, 0), "E", rationals(0, 0, 0), "0, 0"),
        ("N", rationals(33, 61, 0), "E", WEST, "latitude is unreadable"),
        ("N", rationals(33, 0, 60.5), "E", WEST, "latitude is unreadable"),
        ("N", (33, 52, TiffImagePlugin.IFDRational(0, 0)), "E", WEST, "latitude is unreadable"),
        ("N", (float("nan"), 0, 0), "E", WEST, "latitude is unreadable"),
        ("N", "33,52.1N", "E", WEST, "latitude is unreadable"),
        ("S", rationals(33, -52, 10), "E", WEST, "latitude mixes signs"),
        ("N", (), "E", WEST, "latitude is unreadable"),
        ("N", SOUTH, "E", None, "longitude is unreadable"),
        ("N", rationals(33.5, 30, 0), "E", WEST, "a fraction and smaller units"),
        ("N", rationals(33, 30.5, 30), "E", WEST, "a fraction and smaller units"),
        ("N", UNSET, "E", UNSET, "latitude is unreadable"),
    ],
)
def test_a_place_that_contradicts_itself_or_cannot_be_read_is_unknown(
    lat_ref, lat, lon_ref, lon, why
):
    facts = place(lat_ref, lat, lon_ref, lon)
    assert facts.gps is None
    assert why in facts.assumptions[0]


@pytest.mark.parametrize(
    ("datum", "is_place"),
    [
        ("WGS-84", True), ("WGS 84 (G1150)", True), ("JGD2011", True), (b"\0\0", True), ("", True),
        ("TOKYO", False), ("NAD27", False), ("ED50", False), ("GCJ-02", False), (b"Tokyo\0", False),
    ],
)  # fmt: skip
def test_a_place_in_another_datum_is_unknown_and_says_which(datum, is_place):
    facts = read_facts(Exif(gps={1: "S", 2: SOUTH, 3: "W", 4: WEST, 18: datum}), [], (64, 48))
    assert (facts.gps is not None) == is_place
    assert is_place or "not in WGS84" in facts.assumptions[0]


def test_a_receiver_without_a_fix_is_reported():
    tags = {1: "S", 2: SOUTH, 3: "W", 4: WEST}
    assert "no fix" in read_facts(Exif(gps={**tags, 9: "V"}), [], (64, 48)).assumptions[0]
    assert read_facts(Exif(gps={**tags, 9: b"A\0"}), [], (64, 48)).assumptions == ()


def test_sixty_seconds_as_some_cameras_round_them_and_decimal_minutes_are_read():
    found = place("N", rationals(33, 52, 60), "E", rationals(70, 30.5)).gps
    assert (found.lat, found.lon) == pytest.approx((33 + 53 / 60, 70 + 30.5 / 60))


def test_a_file_without_gps_says_nothing_of_it():
    assert read_facts(Exif(), [], (64, 48)).assumptions == ()


def saved_with(entries, path):
    """A JPEG whose GPS entries (tag, type, value) are written byte by byte."""
    body, rest = b"", b""
    start = 8 + 2 + 12 + 4
    length = 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        if kind in (5, 10):
            data = b"".join(struct.pack("<iI" if kind == 10 else "<II", *v) for v in value)
            count = len(value)
        else:
            data, count = value, len(value)
        if len(data) > 4:
            where = struct.pack("<I", start + length + len(rest))
            rest += data
        else:
            where = data.ljust(4, b"\0")
        body += struct.pack("<HHI", tag, kind, count) + where
    gps = struct.pack("<H", len(entries)) + body + bytes(4) + rest
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8825, 4, 1, start, 0) + gps
    Image.new("RGB", (64, 48)).save(path, exif=b"Exif\0\0" + tiff)
    return load_photo(path)


def test_references_of_type_byte_and_signed_rationals_are_read_from_a_file(tmp_path):
    lat, lon = [(33, 1), (52, 1), (10, 1)], [(70, 1), (30, 1), (0, 1)]
    byte = [(1, 1, b"S\0"), (2, 5, lat), (3, 1, b"W\0"), (4, 5, lon)]
    photo = saved_with(byte, tmp_path / "byte.jpg")
    assert (photo.gps.lat, photo.gps.lon) == pytest.approx((-33.869444, -70.5))
    signed = [(1, 2, b"S\0"), (2, 10, [(-33, 1), *lat[1:]]), (3, 2, b"W\0"), (4, 10, lon)]
    assert saved_with(signed, tmp_path / "signed.jpg").gps == photo.gps
    empty = [(1, 2, b"\0\0"), *byte[1:]]
    assert saved_with(empty, tmp_path / "empty.jpg").gps is None


# The direction.


def heading(gps=None, xmp=(), size=(400, 300)):
    return read_facts(Exif(gps=gps), xmp, size).heading


@pytest.mark.parametrize(
    ("ref", "north"),
    [("T", "true"), ("M", "magnetic"), ("m", "magnetic"), (None, "unknown"), ("X", "unknown")],
)
def test_the_direction_of_a_photo_is_true_or_magnetic_and_good_to_20_degrees(ref, north):
    found = heading({16: ref, 17: 271.5})
    assert (found.degrees, found.north, found.source) == (271.5, north, "GPSImgDirection")
    assert found.sigma_deg == COMPASS_SIGMA_DEG == 20.0


def test_a_direction_of_360_degrees_is_0():
    assert heading({17: 360.0}).degrees == 0.0


@pytest.mark.parametrize(
    "value", [-0.1, 360.1, float("nan"), "west", TiffImagePlugin.IFDRational(0, 0)]
)
def test_a_direction_that_is_none_is_unknown_and_said(value):
    facts = read_facts(Exif(gps={17: value}), [], (400, 300))
    assert facts.heading is None
    assert "GPSImgDirection" in facts.assumptions[0]


def test_a_photo_that_was_turned_keeps_its_direction(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8825] = {16: "T", 17: 90.0}
    Image.new("RGB", (64, 48)).save(tmp_path / "p.jpg", exif=exif)
    photo = load_photo(tmp_path / "p.jpg")
    assert photo.pixels.shape == (64, 48, 3)
    assert photo.heading.degrees == 90.0


# GPano.


def xmp(kind="equirectangular", prefix="GPano", **facts):
    named = f'{prefix}:ProjectionType="{kind}" ' if kind else ""
    attributes = " ".join(f'{prefix}:{name}="{value}"' for name, value in facts.items())
    return f"<rdf:Description {named}{attributes}/>"


PART = {
    "FullPanoWidthPixels": 8000, "FullPanoHeightPixels": 4000, "CroppedAreaImageWidthPixels": 4000,
    "CroppedAreaImageHeightPixels": 1000, "CroppedAreaLeftPixels": 0, "CroppedAreaTopPixels": 1400,
}  # fmt: skip
WHOLE = {
    "FullPanoWidthPixels": 8000, "FullPanoHeightPixels": 4000, "CroppedAreaImageWidthPixels": 8000,
    "CroppedAreaImageHeightPixels": 4000, "CroppedAreaLeftPixels": 0, "CroppedAreaTopPixels": 0,
}  # fmt: skip


def gpano(text, size, part=None):
    return read_facts(Exif(part), [text] if isinstance(text, str) else text, size)


def test_part_of_a_panorama_is_placed_by_gpano_even_if_resized():
    found = gpano(xmp(**PART, PoseHeadingDegrees=100), (2000, 500))
    assert (found.kind, found.fov_deg) == ("panorama", 180.0)
    assert found.panorama.top == 90.0 - 1400 * 180 / 4000
    assert found.panorama.bottom == 90.0 - 2400 * 180 / 4000
    assert found.heading.degrees == pytest.approx(10.0)  # 90 degrees left of the whole's middle
    assert (found.heading.sigma_deg, found.heading.north) == (POSE_SIGMA_DEG, "unknown")
    assert POSE_SIGMA_DEG == 5.0
    assert found.view_assumptions == found.assumptions == ()


@pytest.mark.parametrize(("height_px", "known"), [(4060, True), (4120, False)])
def test_a_whole_sphere_is_twice_as_wide_as_high_to_2_percent(height_px, known):
    found = gpano(xmp(**{**PART, "FullPanoHeightPixels": height_px}), (2000, 500))
    assert (found.panorama is not None) is known


def test_gpano_comes_before_a_focal_length_and_its_pose_before_the_compass():
    exif = Exif({0x920A: 1.3}, {16: "T", 17: 10.0})
    found = read_facts(exif, [xmp(**WHOLE, PoseHeadingDegrees=100)], (800, 400))
    assert (found.kind, found.fov_deg) == ("panorama", 360.0)
    assert (found.heading.degrees, found.heading.source) == (100.0, "PoseHeadingDegrees")


def test_the_direction_of_the_first_view_is_not_that_of_the_camera():
    found = gpano(xmp(**WHOLE, InitialViewHeadingDegrees=90), (800, 400))
    assert found.heading is None


def test_gpano_may_be_written_as_elements_and_with_another_prefix():
    text = "".join(f"<GPano:{k}>{v}</GPano:{k}>" for k, v in PART.items())
    whole = f"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>{text}"
    assert gpano(whole, (4000, 1000)).fov_deg == 180.0
    other = 'xmlns:pano="http://ns.google.com/photos/1.0/panorama/" ' + xmp(prefix="pano", **PART)
    assert gpano(other, (4000, 1000)).fov_deg == 180.0


SYNTAX = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
NAMESPACE = "http://ns.google.com/photos/1.0/panorama/"


@pytest.mark.parametrize(
    "element",
    [
        '<{name} xmlns="' + NAMESPACE + '">{value}</{name}>',
        '<p:{name} xmlns:p="' + NAMESPACE + '" rdf:datatype="x">\n  {value}\n</p:{name}>',
        '<p:{name} xmlns:p="' + NAMESPACE + '"><!-- pixels --><![CDATA[{value}]]></p:{name}>',
    ],
)
def test_gpano_is_read_however_xml_lets_it_be_written(element):
    facts = {"ProjectionType": "equirectangular", **PART}
    inside = "".join(element.format(name=name, value=value) for name, value in facts.items())
    packet = f"<?xpacket begin=''?><rdf:RDF {SYNTAX}>{inside}</rdf:RDF><?xpacket end='w'?>"
    assert gpano(packet, (4000, 1000)).fov_deg == 180.0


def test_gpano_in_damaged_xml_is_read_and_in_a_comment_is_not():
    assert gpano("<x:xmpmeta><broken " + xmp(**PART), (4000, 1000)).fov_deg == 180.0
    for begin in ("<a/>", "<broken "):
        assert gpano(f"<!-- {xmp(**PART)} -->{begin}", (400, 300)).kind == "perspective"


def test_xml_that_declares_entities_is_not_expanded():
    bomb = '<!DOCTYPE a [<!ENTITY b "5000">]>'
    packet = f'{bomb}<a xmlns:GPano="{NAMESPACE}" GPano:FullPanoWidthPixels="&b;"/>'
    assert "FullPanoWidthPixels is '&b;'" in gpano(packet, (400, 200)).view_assumptions[0]


@pytest.mark.parametrize("text", ["<x:xmpmeta/>", xmp("perspective"), xmp("rectilinear", **WHOLE)])
def test_other_xmp_and_flat_projections_leave_the_lens_to_tell(text):
    assert gpano(text, (400, 300)).kind == "perspective"
    assert gpano(text, (400, 300), PHONE).fov_deg is not None


@pytest.mark.parametrize("kind", ["fisheye", "cubemap", "stereographic"])
def test_a_projection_that_is_not_read_is_unknown_whatever_lens_and_shape_say(kind):
    found = gpano(xmp(kind, **WHOLE), (800, 400), PHONE)
    assert (found.kind, found.fov_deg) == ("perspective", None)
    assert kind in found.view_assumptions[0]


def test_gpano_without_extents_is_a_whole_sphere_only_if_its_shape_is_one():
    whole = gpano(xmp(), (800, 400))
    assert (whole.kind, whole.fov_deg) == ("panorama", 360.0)
    assert "taken for all of it" in whole.view_assumptions[0]
    part = gpano(xmp(), (800, 300))
    assert (part.kind, part.fov_deg, part.also_try_fov_deg) == ("panorama", None, WIDE_FOV_DEG)


@pytest.mark.parametrize(
    ("changes", "size", "why"),
    [
        ({}, (4000, 1000), "8000 x 4000 pixels, and the picture has 4000 x 1000"),
        ({"CroppedAreaImageWidthPixels": 9999, "CroppedAreaImageHeightPixels": 9999},
         (500, 500), "larger than the whole"),
        ({"CroppedAreaLeftPixels": 4000}, (800, 400), "larger than the whole"),
        ({"CroppedAreaTopPixels": -400}, (800, 400), "begins outside"),
        ({"FullPanoWidthPixels": 0}, (800, 400), "not above 0"),
        ({"CroppedAreaImageWidthPixels": -8000}, (800, 400), "not above 0"),
        ({"FullPanoWidthPixels": "many"}, (800, 400), "FullPanoWidthPixels is 'many'"),
        ({"FullPanoWidthPixels": "nan"}, (800, 400), "FullPanoWidthPixels is 'nan'"),
        ({"FullPanoHeightPixels": 8000}, (800, 400), "not twice as wide as high"),
        ({"FullPanoWidthPixels": None}, (800, 400), "FullPanoWidthPixels is missing"),
    ],
)  # fmt: skip
def test_gpano_that_contradicts_the_picture_or_itself_is_unknown(changes, size, why):
    facts = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    found = gpano(xmp(**facts), size)
    assert (found.kind, found.fov_deg) == ("panorama", None)
    assert why in found.view_assumptions[0]
    assert found.also_try_fov_deg == WIDE_FOV_DEG


def test_packets_that_agree_are_one_and_those_that_do_not_are_unknown():
    assert gpano([xmp(**WHOLE), xmp(**WHOLE)], (800, 400)).fov_deg == 360.0
    assert gpano(["<x:xmpmeta/>", xmp(**PART)], (4000, 1000)).fov_deg == 180.0
    found = gpano([xmp(**WHOLE), xmp(**{**WHOLE, "FullPanoWidthPixels": 9000})], (800, 400))
    assert found.fov_deg is None
    assert "several: 8000, 9000" in found.view_assumptions[0]


def test_gpano_without_a_projection_is_taken_for_equirectangular_and_says_so():
    found = gpano(xmp(None, **PART), (4000, 1000))
    assert found.fov_deg == 180.0
    assert "equirectangular assumed" in found.view_assumptions[0]


def test_a_cylinder_counts_its_rows_from_the_horizon():
    facts = {**PART, "CroppedAreaTopPixels": -300}
    found = gpano(xmp("cylindrical", **facts), (2000, 500)).panorama
    radius = 8000 / (2 * math.pi)
    assert (found.projection, found.fov_deg) == ("cylindrical", 180.0)
    assert (found.top, found.bottom) == pytest.approx((300 / radius, -700 / radius))


def test_a_cylinder_that_tells_no_horizon_has_it_in_the_middle_and_says_so():
    facts = {name: PART[name] for name in PART if name != "CroppedAreaTopPixels"}
    found = gpano(xmp("cylindrical", **facts), (4000, 1000))
    assert found.panorama.top == pytest.approx(-found.panorama.bottom)
    assert "row of the horizon" in found.view_assumptions[0]


@pytest.mark.parametrize(
    ("name", "value"), [("Pitch", 91), ("Pitch", "x"), ("Roll", 181), ("Roll", "nan")]
)
def test_a_tilt_that_is_none_is_level_and_says_so(name, value):
    found = gpano(xmp(**WHOLE, **{f"Pose{name}Degrees": value}), (800, 400))
    assert (found.panorama.pitch_deg, found.panorama.roll_deg) == (0.0, 0.0)
    assert f"Pose{name}Degrees" in found.assumptions[0]


@pytest.mark.parametrize("value", [-1, 361, "north", "nan"])
def test_a_pose_that_is_not_a_direction_is_unknown(value):
    found = gpano(xmp(**WHOLE, PoseHeadingDegrees=value), (800, 400))
    assert found.heading is None
    assert "PoseHeadingDegrees" in found.assumptions[0]


# Through files.


def test_a_gpano_file_is_a_panorama_whatever_its_shape(tmp_path):
    path = tmp_path / "part.jpg"
    Image.new("RGB", (400, 100)).save(path, xmp=xmp(**PART).encode())
    photo = load_photo(path)
    assert (photo.kind, photo.fov_deg) == ("panorama", 180.0)
    assert photo.horizon_px == pytest.approx((2000 - 1400) / 10)


def with_packets(*packets):
    """A JPEG of 400 x 100 pixels with several XMP packets."""
    data = io.BytesIO()
    Image.new("RGB", (400, 100)).save(data, "JPEG")
    jpeg = data.getvalue()
    start = b"http://ns.adobe.com/xap/1.0/\0"
    parts = [b"\xff\xe1" + struct.pack(">H", 2 + len(start + p)) + start + p for p in packets]
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def test_all_xmp_packets_of_a_jpeg_are_read():
    photo = load_photo(with_packets(xmp(**PART).encode(), b"<x:xmpmeta>nothing</x:xmpmeta>"))
    assert photo.fov_deg == 180.0


def test_an_extended_packet_is_put_together_from_pieces_in_any_order():
    packet = f'<a xmlns:GPano="{NAMESPACE}">{xmp(**PART).split(">")[0]}/></a>'.encode()
    packet = packet.replace(b"rdf:Description", b"b")
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">I", len(packet))
    cuts = ((150, len(packet)), (0, 70), (70, 150))
    parts = [head + struct.pack(">I", start) + packet[start:end] for start, end in cuts]
    jpeg = with_packets()
    more = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in parts)
    assert load_photo(jpeg[:2] + more + jpeg[2:]).fov_deg == 180.0


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_xmp_that_is_not_utf_8_loses_nothing_that_is_readable(encoding):
    text = '<x:xmpmeta photographer="Köln"/>' + xmp(**PART)
    assert load_photo(with_packets(text.encode(encoding))).fov_deg == 180.0


def test_exif_text_that_is_not_utf_8_loses_nothing_that_is_readable(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = b"K\xf6ln\xff"
    exif[0x8769] = PHONE
    Image.new("RGB", (64, 48)).save(tmp_path / "p.jpg", exif=exif)
    assert load_photo(tmp_path / "p.jpg").fov_deg == pytest.approx(69.39, abs=0.01)


def test_damaged_exif_does_not_matter(tmp_path, recwarn):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert load_photo(path).fov_deg is None
    assert len(recwarn) == 0


def test_a_pillow_image_brings_its_metadata_along():
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x8769] = PHONE
    Image.new("RGB", (64, 48)).save(data, "JPEG", exif=exif)
    photo = load_photo(Image.open(data))
    assert photo.fov_deg == pytest.approx(69.39, abs=0.01)
    assert np.array_equal(photo.pixels, load_photo(data.getvalue()).pixels)
