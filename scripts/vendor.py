"""Fetch the browser libraries that our pages carry: the packages' own minified files, unchanged.

Run by ``make vendor``; needs npm and a network. The result is committed, so nobody else does.
``vendor.json`` records where each file comes from and its sha256; a test compares.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "src" / "crossview" / "web" / "vendor"
PACKAGES = {
    "leaflet": {
        "version": "1.9.4",
        "licence": "BSD-2-Clause",
        "files": {
            "dist/leaflet.js": "leaflet.js",
            "dist/leaflet.css": "leaflet.css",
            "LICENSE": "leaflet.LICENSE",
        },
    },
}


def main() -> None:
    """Replace the vendored files and their list."""
    listed = {name: fetch_package(name, **package) for name, package in PACKAGES.items()}
    (FOLDER / "vendor.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def fetch_package(
    name: str, version: str, licence: str, files: dict[str, str]
) -> dict[str, object]:
    """Unpack one package's ``files``; returns its entry in ``vendor.json``."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", f"{name}@{version}", "--json", "--pack-destination", scratch]
        packed = json.loads(_run(command))[0]
        hashes = {}
        with tarfile.open(Path(scratch) / packed["filename"]) as archive:
            for source, target in files.items():
                content = archive.extractfile(f"package/{source}").read()
                (FOLDER / target).write_bytes(content)
                hashes[target] = hashlib.sha256(content).hexdigest()
    return {
        "version": version, "licence": licence, "package": packed["integrity"], "sha256": hashes
    }  # fmt: skip


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603


if __name__ == "__main__":
    main()
