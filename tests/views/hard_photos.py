"""Photos that are hard to decode, made from the facts of their formats, and works for decoders."""

from __future__ import annotations

import os
import signal
import struct
import time

import numpy as np

from crossview.errors import BadImage, InvalidValue


def scan_bomb(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG (ITU-T T.81, annex G) whose every scan visits all of its blocks.

    One grey channel. The first scan gives each block its mean, the second all other coefficients;
    every further one refines those by a bit. All coefficients are nought, which a run of up to
    32,767 blocks says in 29 bits ("end of band"): a decoder has work, and the file has few bytes.
    """

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    def huffman_table(kind: int, symbols_by_length: dict[int, bytes]) -> bytes:
        lengths = bytes(len(symbols_by_length.get(n, b"")) for n in range(1, 17))
        return segment(0xC4, bytes([kind]) + lengths + b"".join(symbols_by_length.values()))

    def scan(first: int, last: int, high: int, low: int, bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
        header = bytes([1, 1, 0x00, first, last, high << 4 | low])
        return segment(0xDA, header) + coded

    blocks = -(-width // 8) * -(-height // 8)
    longest = 2**15 - 1  # of a run: 2**14 and what 14 more bits say
    runs = [longest] * (blocks // longest) + ([blocks % longest] if blocks % longest else [])
    nothing = "".join(
        # The code "0" is a run of 2**14 and more; "10" a single block.
        "0" + format(run - 2**14, "014b") if run >= 2**14 else "10" * run
        for run in runs
    )
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, bytes([0]) + bytes([1]) * 64),
            segment(0xC2, frame),
            huffman_table(0x00, {1: b"\x00"}),
            huffman_table(0x10, {1: b"\xe0", 2: b"\x00"}),
            scan(0, 0, 0, 0, "0" * blocks),
            scan(1, 63, 0, 1, nothing),
            scan(1, 63, 1, 0, nothing) * scans,
            b"\xff\xd9",
        ]
    )


def empty_webp(width: int, height: int) -> bytes:
    """A lossless WebP of 34 bytes that promises so many pixels."""
    header = struct.pack("<BI", 0x2F, (width - 1) | (height - 1) << 14)
    body = b"WEBPVP8L" + struct.pack("<I", 14) + header + bytes(9)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# Works that processes of decoders do in tests.


def act(what: str, amount: float = 0.0) -> object:
    """What a hostile photo could make a decoder do."""
    return ACTS[what](amount)


def _compute(seconds: float) -> int:
    """Take processor time, and look at no signal."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


def _refuse(_: float) -> None:
    raise BadImage("refused.")


def _find_a_hint_wrong(_: float) -> None:
    raise InvalidValue("a hint that does not fit.")


def _fail(_: float) -> None:
    raise ZeroDivisionError


ACTS = {
    "compute": _compute,
    "sleep": time.sleep,
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "fill": lambda count: np.ones(int(count), np.uint8)[:1].copy(),
    "refuse": _refuse,
    "hint": _find_a_hint_wrong,
    "fault": _fail,
    "array": lambda count: np.arange(int(count), dtype=np.uint8).reshape(-1, 2),
    "none": lambda _: None,
    "priority": lambda _: os.getpriority(os.PRIO_PROCESS, 0),
    "id": lambda _: os.getpid(),
}


def measure(data: bytes) -> tuple[str, int]:
    """How bytes arrive that were sent as a buffer."""
    return type(data).__name__, len(data)
