"""The town's version: two results may share a table only if their versions are equal."""

from __future__ import annotations

import hashlib

TOWN_VERSION = "76acb9ae"


def measured_version() -> str:
    """Hash what the generator draws on fixed seeds: 8 hex digits.

    Pictures are thinned and coarsened first, so that the last bit of a sine does not matter.
    """
    from crossview.worlds.camera import Shot, panorama
    from crossview.worlds.ground import begin_drive, camera_places
    from crossview.worlds.overhead import orthophoto
    from crossview.worlds.styles import STYLES
    from crossview.worlds.town import build_town

    digest = hashlib.sha256()
    for name in sorted(STYLES):
        town = build_town(name, 7, 320.0)
        digest.update((orthophoto(town)[::9, ::9] >> 5).tobytes())
        east, south = camera_places(town, 1, "version")[0]
        shot = Shot(float(east), float(south), 0.0, width_px=64, height_px=32)
        digest.update((panorama(begin_drive(town), shot) >> 5).tobytes())
    return digest.hexdigest()[:8]
