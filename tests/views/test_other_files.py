"""Videos and raw files are told by what they hold, and answered with what to do."""

import io

import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage
from crossview.views.decode import (
    RAW_SUFFIXES,
    SUFFIXES,
    VIDEO_SUFFIXES,
    explain_refusal,
    load_photo,
    read_rgb,
)


def box(brand, *more):
    content = brand + bytes(4) + b"".join(more)
    return (len(content) + 8).to_bytes(4, "big") + b"ftyp" + content + bytes(5000)


VIDEOS = {
    "mp4": box(b"isom", b"isom", b"mp42"),
    "mov": box(b"qt  ", b"qt  "),
    "m4v": box(b"M4V ", b"mp42"),
    "old.mov": bytes(4) + b"moov" + bytes(500),
    "wide.mov": b"\0\0\0\x08wide" + bytes(500),
    "avi": b"RIFF\x10\0\0\0AVI LIST" + bytes(500),
    "mkv": b"\x1aE\xdf\xa3" + bytes(500),
    "mts": (bytes(4) + b"G" + bytes(187)) * 4,
    "ts": (b"G" + bytes(187)) * 4,
    "mpg": b"\0\0\x01\xba" + bytes(500),
    "wmv": b"0&\xb2u\x8ef\xcf\x11" + bytes(500),
}
RAWS = {
    "cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(500),
    "cr3": box(b"crx ", b"crx ", b"isom"),
    "raf": b"FUJIFILMCCD-RAW 0201" + bytes(500),
    "orf": b"IIRO\x08\0\0\0" + bytes(500),
    "rw2": b"IIU\0\x08\0\0\0" + bytes(500),
    "nef": b"MM\0*\0\0\0\x08" + bytes(500),
    "arw": b"II*\0\x08\0\0\0" + bytes(500),
}


@pytest.mark.parametrize("kind", VIDEOS)
@pytest.mark.parametrize("name", ["film.{}", "lies.jpg", "no-suffix"])
def test_videos_are_answered_with_how_to_take_a_frame(tmp_path, kind, name):
    path = tmp_path / name.format(kind)
    path.write_bytes(VIDEOS[kind])
    with pytest.raises(BadImage, match=r"is a video.*\nffmpeg -ss .* -frames:v 1") as problem:
        load_photo(path)
    assert path.name in str(problem.value).splitlines()[1]
    assert len(str(problem.value).splitlines()) == 2


def test_the_command_that_takes_a_frame_can_be_copied_whatever_the_name():
    assert "-i 'my film.mp4' -frames" in explain_refusal(VIDEOS["mp4"], "my film.mp4")


@pytest.mark.parametrize("suffix", [".insv", ".360"])
def test_videos_of_360_degree_cameras_are_to_be_exported_first(suffix):
    assert "equirectangular" in explain_refusal(VIDEOS["mp4"], f"film{suffix}")


def test_two_fisheyes_in_a_jpeg_are_no_panorama(tmp_path):
    path = tmp_path / "IMG_0001.insp"
    Image.new("RGB", (128, 64)).save(path, "JPEG")
    with pytest.raises(BadImage, match="two fisheye"):
        load_photo(path)


@pytest.mark.parametrize("kind", RAWS)
def test_raw_files_are_answered_with_how_to_develop_them(tmp_path, kind):
    path = tmp_path / f"IMG_0001.{kind.upper()}"
    path.write_bytes(RAWS[kind])
    with pytest.raises(BadImage, match="raw file.*\nDevelop it to JPEG first") as problem:
        load_photo(path)
    assert len(str(problem.value).splitlines()) == 2


@pytest.mark.parametrize("kind", ["cr2", "cr3", "raf", "orf", "rw2"])
def test_raw_files_are_known_whatever_they_are_called(kind):
    with pytest.raises(BadImage, match="raw file"):
        read_rgb(RAWS[kind])


@pytest.mark.parametrize(
    "tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}, {262: 32803}, {262: 34892}]
)
def test_a_tiff_that_holds_a_sensors_values_or_only_their_preview_is_raw(tags):
    data = io.BytesIO()
    info = {tag: value for tag, value in tags.items() if tag != 262}
    Image.new("L", (160, 120)).save(data, "TIFF", tiffinfo=info)
    held = data.getvalue()
    if 262 in tags:
        at = held.index(b"\x06\x01\x03\0\x01\0\0\0")
        held = held[: at + 8] + tags[262].to_bytes(4, "little") + held[at + 12 :]
    with pytest.raises(BadImage, match="raw file"):
        read_rgb(held)


def test_a_picture_is_read_whatever_it_is_called(tmp_path):
    for suffix in (".nef", ".mp4", ".txt"):
        path = tmp_path / f"p{suffix}"
        Image.new("RGB", (64, 48)).save(path, "JPEG")
        assert load_photo(path).pixels.shape == (48, 64, 3)


def test_a_video_of_any_size_is_recognized_by_its_start(tmp_path):
    path = tmp_path / "long.mp4"
    with path.open("wb") as stream:
        stream.write(VIDEOS["mp4"])
        stream.truncate(3 << 30)
    with pytest.raises(BadImage, match="is a video"):
        load_photo(path)


def test_jpeg_xl_and_drawings_are_named():
    assert "JPEG XL" in explain_refusal(b"\xff\x0a" + bytes(50), "p.jxl")
    assert "SVG" in explain_refusal(b"<svg xmlns='x'/>", "p.svg")


def test_pictures_are_none_of_these(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "JPEG2000"):
        data = io.BytesIO()
        noise.save(data, kind)
        assert explain_refusal(data.getvalue()[:4096], "p") is None, kind


def test_no_suffix_is_of_two_kinds():
    assert not set(SUFFIXES) & {*VIDEO_SUFFIXES, *RAW_SUFFIXES}
    assert not set(VIDEO_SUFFIXES) & set(RAW_SUFFIXES)
