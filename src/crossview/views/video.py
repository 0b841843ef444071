"""Frames of a video: of every stretch that the camera moved on, the sharpest.

FFmpeg decodes, by way of PyAV (the extra ``video``), in a process of its own whose memory is
limited, and which is killed if it brings nothing for a while: a video is a program in the hands of
a decoder, and may come from a stranger. Only containers that hold their own pictures are opened,
by their content, never by their name: a playlist could make FFmpeg read other files.

Motion is the median length of the optical flow (Farneback 2003) from a small grey copy of the frame
that was taken last, over the half of its pixels around which there is more to see: the sky and a
bare road tell nothing, what passes by does not count, and a hand that trembles comes back. Where
the camera stands, nothing is taken. Sharpness is the variance of the Laplacian (Pech-Pacheco et
al. 2000).
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from crossview.arrays import U8
from crossview.errors import BadImage, UsageError, require
from crossview.views.decode import MAX_MEMORY_BYTES, VIDEO_SUFFIXES
from crossview.views.decoders import Decoders, DecodingBudget

MOST_PIXELS = 36_000_000  # of a frame; 8K has 33 million
MOST_FRAMES = 1000  # that are taken
_KEPT_PX = 1280  # longest side of a frame that is taken
_GREY_PX = 160  # longest side of the copies that motion is measured on
_TEXTURE_PX = 3.0  # of such a copy: standard deviation of the patch that texture is counted in
_LOOKS_PER_S = 8.0  # frames that are looked at
_QUALITY = 92  # of JPEG
_PLAIN = 3.0  # standard deviation of grey values: a black frame, a lens cap
_TURN_S = 5.0  # of decoding before the process says how far it is
_LEAST_APART = 0.5  # of a stretch: so far two frames are apart at least
_BACK_S = 0.5  # that times may run back without being wrong: frames of a damaged stretch
_FORMATS = (  # what a file begins with, and the name of FFmpeg's reader
    (4, b"ftyp", "mov"), (4, b"moov", "mov"), (4, b"mdat", "mov"), (4, b"wide", "mov"),
    (4, b"free", "mov"), (4, b"skip", "mov"), (0, b"\x1aE\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"), (0, b"\0\0\x01\xba", "mpeg"), (0, b"FLV\x01", "flv"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"), (0, b"OggS", "ogg"), (0, b"G", "mpegts"),
    (4, b"G", "mpegts"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames are taken: one in ``every_s``, and only once the camera has moved.

    Two frames are at least half of ``every_s`` apart. ``moved``: by how much, as a share of the
    picture's width; 0 takes the sharpest frame of every ``every_s``. ``most``: how many; of a long
    video they are farther apart.
    """

    every_s: float = 1.0
    moved: float = 0.01
    most: int = MOST_FRAMES

    def __post_init__(self) -> None:
        require(
            0.0 < self.every_s < 1e6,
            f"seconds between frames must be > 0, got {self.every_s}.",
        )
        require(
            0.0 <= self.moved <= 10.0,
            f"how far the picture moves lies in 0 to 10 of its width, got {self.moved}.",
        )
        require(
            1 <= self.most <= MOST_FRAMES,
            f"1 to {MOST_FRAMES} frames can be taken of a video, got {self.most}.",
        )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame that was taken: an upright JPEG file."""

    seconds: float  # since the video began
    jpeg: bytes = field(repr=False)
    sharpness: float  # of its grey copy
    moved: float  # widths of the picture, from the frame before; 0 where nothing asked for it


@dataclass(frozen=True, kw_only=True)
class Video:
    """What was taken of a video."""

    path: str
    frames: tuple[Frame, ...]
    looked_at: int  # frames that were compared
    seconds: float  # as far as it was decoded
    began: datetime | None  # UTC, as its file says
    notes: tuple[str, ...] = ()


def is_video_name(path: str | Path) -> bool:
    """Whether a name ends like that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def read_video(
    path: str | Path,
    options: FrameOptions | None = None,
    progress: Callable[[float, float | None], None] = lambda _done_s, _of_s: None,
) -> Video:
    """Take frames of a video; :class:`BadImage` says why not.

    ``progress`` gets the seconds that are decoded, and those that the file announces.
    """
    options = options or FrameOptions()
    require_reader()
    name, whole = str(path), Path(path).absolute()
    if not whole.is_file():
        raise BadImage(
            f"{name}: there is no such file." if not whole.exists() else f"{name}: no file."
        )
    frames: list[Frame] = []
    budget = DecodingBudget(memory_bytes=MAX_MEMORY_BYTES, file_bytes=0)
    with Decoders(_read_on, budget, workers=1) as decoders:
        while True:
            part: _Part = decoders.submit(
                str(whole), name, options, len(frames), name=name
            ).result()
            frames += part.frames
            progress(part.seconds, part.announced_s)
            if part.is_last:
                break
    if not frames:
        raise BadImage(f"{name}: is a video without a single frame that can be decoded.")
    return Video(
        path=name,
        frames=tuple(frames),
        looked_at=part.looked_at,
        seconds=part.seconds,
        began=part.began,
        notes=part.notes,
    )


def require_reader() -> None:
    """Raise :class:`UsageError` unless the package that reads videos is installed."""
    try:
        import av  # noqa: F401
    except ImportError as problem:
        raise UsageError(
            "Videos need one more package. Install it with: pip install 'crossview[video]'"
        ) from problem


# In the process that decodes. It keeps one video open between two calls.


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What some seconds of decoding gave."""

    frames: tuple[Frame, ...]
    looked_at: int
    seconds: float
    announced_s: float | None
    began: datetime | None
    notes: tuple[str, ...]
    is_last: bool


_open: dict[str, _Chooser] = {}


def _read_on(path: str, name: str, options: FrameOptions, taken: int) -> _Part:
    """Decode for a few seconds, and tell what came of them; begins where nothing was taken yet."""
    chooser = _open.get(path)
    if chooser is None:
        if taken:
            raise BadImage(f"{name}: the program that decodes it ended; it may be damaged.")
        chooser = _open[path] = _Chooser(path, name, options)
    return chooser.go_on()


class _Chooser:
    """A video that is open, and which of its frames are taken."""

    def __init__(self, path: str, name: str, options: FrameOptions) -> None:
        self._name, self._options = name, options
        self._container, self._stream = _open_container(path, name)
        self.announced_s = _read_duration_s(self._container)
        spacing_s = (self.announced_s or 0.0) / options.most
        self._every_s = max(options.every_s, spacing_s)
        self._notes = [
            f"frames at least {self._every_s:.1f} s apart, since at most {options.most} are taken"
        ] * (spacing_s > options.every_s)
        self.began = _read_began(self._container)
        self._pictures = self._decode()
        self._first_s: float | None = None
        self._last_s, self._looked_s = -math.inf, -math.inf
        self._looked_at, self._taken = 0, 0
        self._before: Frame | None = None  # that was taken last
        self._grey: U8 | None = None  # of it
        self._moved = 0.0  # the farthest from it so far
        self._best: tuple[Frame, U8, Any] | None = None  # of this stretch, its copy, its pixels
        self._begun_s = -math.inf  # of this stretch; the next one begins where it ends

    def go_on(self) -> _Part:
        """Decode until the time of one call is over, or the video is."""
        end = time.process_time() + _TURN_S
        frames: list[Frame] = []
        is_last = True
        for picture in self._pictures:
            seconds = self._find_time(picture)
            if seconds - self._looked_s >= 1.0 / _LOOKS_PER_S:
                frames += self._look(picture, seconds)
            if self._taken >= self._options.most:
                self._notes.append(f"ends at {seconds:.0f} s, with {self._taken} frames taken")
                break
            if time.process_time() > end:
                is_last = False
                break
        if is_last:
            frames += self._take_best()
        return _Part(
            frames=tuple(frames),
            looked_at=self._looked_at,
            seconds=max(self._last_s, 0.0),
            announced_s=self.announced_s,
            began=self.began,
            notes=tuple(self._notes),
            is_last=is_last,
        )

    def _decode(self) -> Iterator[Any]:
        """The frames that can be decoded; damaged packets are left out."""
        import av

        damaged = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.error.FFmpegError, OSError, ValueError):
                damaged += 1  # the end of a file that was cut
                break
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                damaged += 1
        if damaged:
            self._notes.append(f"{damaged} packets of the video are damaged and left out")

    def _find_time(self, picture: Any) -> float:
        """Seconds since the first frame."""
        seconds = picture.time
        if seconds is None or not math.isfinite(seconds):
            rate = float(self._stream.average_rate or 25)
            seconds = (self._first_s or 0.0) + max(self._last_s, 0.0) + 1.0 / rate
        if self._first_s is None:
            self._first_s = seconds
        seconds -= self._first_s
        if seconds < self._last_s - _BACK_S:
            raise BadImage(
                f"{self._name}: the times of its frames run back, from {self._last_s:.1f} to "
                f"{seconds:.1f} s.\nWrite them anew, such as: ffmpeg -i IN -vf setpts=N/30/TB OUT"
            )
        self._last_s = max(self._last_s, seconds)
        return self._last_s

    def _look(self, picture: Any, seconds: float) -> Iterator[Frame]:
        """Compare a frame with those before it; gives the best of a stretch that is over."""
        self._looked_s = seconds
        self._looked_at += 1
        if picture.width * picture.height > MOST_PIXELS:
            raise BadImage(
                f"{self._name}: a frame has {picture.width} x {picture.height} pixels; at most "
                f"{MOST_PIXELS // 1_000_000} million are decoded."
            )
        if self._best is not None and seconds >= self._begun_s + self._every_s:
            yield from self._take_best()
        scale = _GREY_PX / max(picture.width, picture.height)
        size = [max(16, round(side * scale)) for side in (picture.width, picture.height)]
        grey = picture.reformat(width=size[0], height=size[1], format="gray8").to_ndarray()
        if float(grey.std()) < _PLAIN or not self._is_far(grey, seconds):
            return
        sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
        if self._best is None:
            after = self._begun_s + self._every_s
            self._begun_s = after if after <= seconds < after + self._every_s else seconds
        if self._best is None or sharpness > self._best[0].sharpness:
            frame = Frame(seconds=seconds, jpeg=b"", sharpness=sharpness, moved=self._moved)
            self._best = (frame, grey, _to_pixels(picture))

    def _is_far(self, grey: U8, seconds: float) -> bool:
        """Whether enough time and motion are between a frame and the one that was taken last."""
        if self._before is None or self._grey is None:
            return True
        if seconds - self._before.seconds < _LEAST_APART * self._every_s:
            return False
        if self._grey.shape != grey.shape:
            return True  # a video whose pictures change their size
        if self._moved < self._options.moved:
            self._moved = max(self._moved, _measure_motion(self._grey, grey))
        return self._moved >= self._options.moved

    def _take_best(self) -> Iterator[Frame]:
        if self._best is None:
            return
        frame, self._grey, pixels = self._best
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
        self._before, self._best, self._moved = replace(frame, jpeg=stream.getvalue()), None, 0.0
        self._taken += 1
        yield self._before


def _open_container(path: str, name: str) -> tuple[Any, Any]:
    """The container and its stream of pictures, opened by its content alone."""
    import av

    av.logging.set_level(None)  # what is wrong with a file is said in our own words
    file = Path(path).open("rb")  # noqa: SIM115 - it stays open as long as the process
    kind = _find_format(file.read(16))
    file.seek(0)
    if kind is None:
        raise BadImage(
            f"{name}: is not a video that crossview reads: MP4, MOV, MKV, WebM, AVI, MPEG, FLV, "
            "WMV and Ogg."
        )
    try:
        container = av.open(
            file, format=kind, options={"protocol_whitelist": "none", "enable_drefs": "0"},
            metadata_errors="replace",
        )  # fmt: skip
    except (av.error.FFmpegError, OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", "") or "damaged"
        raise BadImage(f"{name}: the video cannot be read: {reason}.") from problem
    streams = [s for s in container.streams.video if not s.disposition & _COVER]
    if not streams:
        raise BadImage(f"{name}: holds no moving pictures, only sound or nothing.")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise BadImage(f"{name}: its pictures are coded in a way that no decoder here knows.")
    context.thread_type, context.thread_count = "NONE", 1  # more would each hold frames
    context.options = {"max_pixels": str(MOST_PIXELS)}
    return container, stream


_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the picture of an album


def _find_format(start: bytes) -> str | None:
    return next((kind for at, mark, kind in _FORMATS if start[at:].startswith(mark)), None)


def _read_duration_s(container: Any) -> float | None:
    seconds: float | None = None if container.duration is None else container.duration / 1e6
    return seconds if seconds is not None and 0.0 < seconds < 1e7 else None


def _read_began(container: Any) -> datetime | None:
    """When a video was begun, as its file says, in UTC."""
    text = container.metadata.get("creation_time", "")
    with suppress(ValueError, OverflowError):
        began = datetime.fromisoformat(text)
        began = began.replace(tzinfo=began.tzinfo or UTC).astimezone(UTC)
        return began if began.year > 1990 else None  # cameras whose clock was never set
    return None


def _measure_motion(before: U8, after: U8) -> float:
    """Median length of the flow between two grey pictures where they have texture, in widths."""
    flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 2, 5, 1.1, 0)
    slopes = [cv2.Sobel(before, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))]
    texture = cv2.GaussianBlur(np.hypot(*slopes), (0, 0), _TEXTURE_PX)
    seen = texture >= np.median(texture)
    median_px = float(np.median(np.hypot(flow[..., 0], flow[..., 1])[seen]))
    return median_px / int(before.shape[1])


def _to_pixels(picture: Any) -> U8:
    """Upright RGB uint8 [H, W, 3], made smaller where it is large."""
    scale = min(1.0, _KEPT_PX / max(picture.width, picture.height))
    width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
    pixels: U8 = picture.reformat(
        width=width, height=height, format="rgb24", interpolation="AREA"
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(picture.rotation / 90.0) % 4))
