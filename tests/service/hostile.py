"""Files that nobody should have to read: name -> bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from tests.service.conftest import encoded, jpeg, noise


def hostile_files():
    good, png = jpeg(), encoded(noise(), "PNG")
    return {
        "empty": b"",
        "one byte": b"\xff",
        "truncated jpeg": good[: len(good) // 3],
        "truncated png": png[: len(png) // 2],
        "header only": good[:20],
        "text": b"this is no picture at all" * 10,
        "zeros": bytes(5000),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "svg with doctype": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg/>',
        "html": b"<html><body onload=alert(1)></body></html>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "zip": b"PK\x03\x04" + bytes(200),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        "bomb by size": png_header(60_000, 60_000),
        "bomb by zip": png_header(4000, 4000, zlib.compress(bytes(100))),
        "bomb of one row": png_header(2**31 - 1, 1),
        "negative bmp": b"BM" + struct.pack("<IHHIIiiHH", 70, 0, 0, 54, 40, -(2**31), 1, 1, 24),
        "polyglot": good + b"PK\x03\x04" + b"<script>alert(1)</script>",
        "animated": animation(),
        "16 bit": encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)), "PNG"),
        "cmyk": encoded(noise(mode="CMYK"), "JPEG"),
        "alpha": encoded(noise(mode="RGBA"), "PNG"),
        "grey": encoded(noise(mode="L"), "PNG"),
        "one pixel": encoded(noise((1, 1)), "PNG"),
        "thin": encoded(noise((4000, 3)), "PNG"),
        "exif loop": with_exif(exif_loop()),
        "exif damaged": with_exif(b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + bytes(40)),
        "exif absurd": with_exif(b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\xff" * 600),
        "damaged inside": bytes(b ^ (0x55 if 700 < n < 800 else 0) for n, b in enumerate(good)),
        "float tiff": encoded(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"),
        "tiff loop": b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIII", 1, 330, 4, 1, 8, 8),
        "long comment": good[:2] + b"\xff\xfe\xff\xff" + bytes(65533) + good[2:],
    }  # fmt: skip


def png_header(width, height, data=b""):
    """A PNG that promises so many pixels."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    facts = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", facts) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def animation():
    stream = io.BytesIO()
    frames = [noise(seed=n).convert("P") for n in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], loop=0)
    return stream.getvalue()


def with_exif(exif):
    good = jpeg()
    return good[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + good[2:]


def exif_loop():
    """A directory whose next directory, GPS part and EXIF part are itself."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825))
    return (
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00"
        + struct.pack("<H", 2)
        + entries
        + struct.pack("<I", 8)
    )
