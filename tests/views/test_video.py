"""Frames of videos: which are taken, and what is refused."""

from __future__ import annotations

import io
import itertools

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage, InvalidValue
from crossview.views import video
from crossview.views.video import FrameOptions, read_video

RATE, SIZE = 20, (160, 120)
LUMPS = np.random.default_rng(0).integers(0, 256, (SIZE[1] // 12, 2000 // 12, 3)).astype(np.uint8)
SCENE = cv2.GaussianBlur(np.kron(LUMPS, np.ones((12, 12, 1), np.uint8)), (0, 0), 1.0)


def encode(path, pictures, *, rate=RATE, codec="mpeg4", times=None, **metadata):
    """Write a video; ``times`` replaces the numbers of the frames."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.bit_rate = 2_000_000
        for n, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = n if times is None else times[n]
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def pan(seconds, px_per_s=40.0, start=0):
    """A camera that turns to the right."""
    for n in range(round(seconds * RATE)):
        left = start + round(n * px_per_s / RATE)
        yield SCENE[:, left : left + SIZE[0]]


def test_a_standing_camera_gives_one_frame_and_a_moving_one_a_frame_a_second(tmp_path):
    still = [SCENE[:, : SIZE[0]]] * (3 * RATE)
    found = read_video(encode(tmp_path / "a.mp4", [*still, *pan(4.0)]))
    seconds = [frame.seconds for frame in found.frames]
    assert [s for s in seconds if s < 2.8] == seconds[:1]
    assert 3 <= len([s for s in seconds if s >= 2.8]) <= 5
    assert all(b - a >= 0.5 for a, b in itertools.pairwise(seconds))
    assert found.seconds == pytest.approx(7.0, abs=0.3)
    assert found.began is None
    picture = Image.open(io.BytesIO(found.frames[0].jpeg))
    assert picture.size == SIZE
    every = read_video(tmp_path / "a.mp4", FrameOptions(moved=0.0))
    assert len(every.frames) >= 6


@pytest.mark.parametrize("px_per_s", [3.0, 40.0])
def test_stretches_are_timed_from_each_other_not_from_the_first_frame_that_moved(
    tmp_path, px_per_s
):
    found = read_video(encode(tmp_path / "a.mp4", pan(8.0, px_per_s)))
    seconds = [frame.seconds for frame in found.frames]
    assert len(seconds) in {8, 9}
    gaps = np.diff(seconds)
    assert gaps.mean() == pytest.approx(1.0, abs=0.15)
    assert gaps.min() >= 0.5


def test_a_sky_without_texture_does_not_hide_that_the_camera_moves(tmp_path):
    pictures = list(pan(4.0, 20.0))
    for picture in pictures:
        picture[: SIZE[1] * 2 // 5] = 200  # nearly half of it tells nothing
    assert len(read_video(encode(tmp_path / "a.mp4", pictures)).frames) in {4, 5}


def test_the_sharpest_frame_of_a_stretch_is_taken(tmp_path):
    """Every third frame is looked at, eight a second or a little fewer."""
    pictures, sharp = [cv2.GaussianBlur(p, (0, 0), 4.0) for p in pan(3.0)], 27
    pictures[sharp] = list(pan(3.0))[sharp]
    found = read_video(encode(tmp_path / "a.mkv", pictures))
    assert sharp / RATE in [pytest.approx(frame.seconds, abs=0.01) for frame in found.frames]


def test_a_video_says_when_it_began_and_how_it_is_turned(tmp_path):
    path = encode(tmp_path / "a.mp4", pan(1.0), creation_time="2024-05-01T12:00:00.000000Z")
    assert read_video(path).began.isoformat() == "2024-05-01T12:00:00+00:00"
    never_set = encode(tmp_path / "b.mp4", pan(1.0), creation_time="1904-01-01T00:00:00.000000Z")
    assert read_video(never_set).began is None


def test_of_a_long_video_frames_are_farther_apart(tmp_path):
    path = encode(tmp_path / "a.mp4", pan(6.0))
    found = read_video(path, FrameOptions(every_s=0.2, most=3))
    assert 2 <= len(found.frames) <= 3
    assert "at most 3" in found.notes[0]


def test_progress_tells_the_seconds_and_those_that_are_announced(tmp_path):
    told = []
    read_video(encode(tmp_path / "a.mp4", pan(2.0)), progress=lambda *at: told.append(at))
    assert told[-1][0] == pytest.approx(2.0, abs=0.2)
    assert told[-1][1] == pytest.approx(2.0, abs=0.2)


def test_decoding_goes_on_from_call_to_call(tmp_path, monkeypatch):
    path = str(encode(tmp_path / "a.mp4", pan(3.0)))
    whole = read_video(path)
    monkeypatch.setattr(video, "_TURN_S", 0.0)
    chooser, frames, calls = video._Chooser(path, path, FrameOptions()), [], 0
    while True:
        part = chooser.go_on()
        frames += part.frames
        calls += 1
        if part.is_last:
            break
    assert calls > 20
    assert [f.seconds for f in frames] == [f.seconds for f in whole.frames]


# What is refused.


def test_a_file_that_is_no_video_is_told(tmp_path):
    with pytest.raises(BadImage, match="no such file"):
        read_video(tmp_path / "none.mp4")
    for name, data in (
        ("text.mp4", b"hello" * 100),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("empty.mp4", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadImage, match="is not a video"):
            read_video(tmp_path / name)


def test_a_video_without_frames_is_told(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(BadImage, match="no moving pictures"):
        read_video(tmp_path / "sound.mp4")
    black = [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * 20
    with pytest.raises(BadImage, match="without a single frame"):
        read_video(encode(tmp_path / "black.mp4", black))


def test_a_video_that_was_cut_gives_what_is_there(tmp_path):
    data = encode(tmp_path / "a.mkv", pan(4.0)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = read_video(tmp_path / "cut.mkv")
    assert 0 < len(found.frames) < len(read_video(tmp_path / "a.mkv").frames)
    (tmp_path / "cut.mp4").write_bytes(encode(tmp_path / "a.mp4", pan(4.0)).read_bytes()[:2000])
    with pytest.raises(BadImage, match="cannot be read"):
        read_video(tmp_path / "cut.mp4")


def test_times_that_run_back_are_refused(tmp_path, monkeypatch):
    path = str(encode(tmp_path / "a.mp4", pan(2.0)))
    chooser = video._Chooser(path, path, FrameOptions())
    decode = chooser._decode()
    frames = list(decode)
    chooser._pictures = iter(frames[20:] + frames[:20])
    with pytest.raises(BadImage, match="run back"):
        chooser.go_on()


def test_a_frame_that_is_too_large_is_refused(tmp_path, monkeypatch):
    path = str(encode(tmp_path / "a.mp4", pan(0.5)))
    monkeypatch.setattr(video, "MOST_PIXELS", 100)
    with pytest.raises(BadImage, match=r"160 x 120|without|cannot"):
        part = video._Chooser(path, path, FrameOptions()).go_on()
        if not part.frames:
            raise BadImage("without a frame")


@pytest.mark.parametrize("options", [{"every_s": 0.0}, {"moved": -1.0}, {"most": 0}])
def test_options_are_checked(options):
    with pytest.raises(InvalidValue):
        FrameOptions(**options)
