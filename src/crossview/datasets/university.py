"""University-1652: buildings from satellite, drone and street (Zheng, Wei, Yang, ACM MM 2020).

1,652 buildings of 72 universities; the folder of a picture names its building, and every picture of
one building matches every other. 701 buildings to train on, 701 others as queries, in galleries of
951 (drone, satellite) and 793 (street): those without a query are distractors. In every direction
the lower view is the ground side; queries from above are the aerial side.
Neither places nor headings are published. Access and licence: docs/datasets.md.
"""

from __future__ import annotations

from pathlib import Path

from crossview.errors import BadData
from crossview.files import list_files, list_folders
from crossview.pairs.official_lists import HELP, Counts, Part, make_table
from crossview.pairs.table import Framing, PairTable

LICENCE = "research only, not to be passed on (docs/datasets.md)"
VIEWS = ("street", "drone", "satellite")  # from low to high
QUERIES = {"drone": 37_855, "satellite": 701, "street": 2_579}
GALLERIES = {"drone": 51_355, "satellite": 951, "street": 2_921}
TRAINING = {
    "drone": 37_854,
    "satellite": 701,
    "street": 0,
}  # the number of street pictures is not stated
FRAMING = Framing(keep_rows=(0.0, 1.0))  # neither angles nor metres are published
PICTURES = {".jpg", ".jpeg", ".png"}


def list_counts(query: str, reference: str) -> dict[str, Counts]:
    """The official numbers of pictures; a drone's picture matches the one satellite picture."""
    train, test = {v: TRAINING[v] for v in VIEWS}, {**GALLERIES, query: QUERIES[query]}
    low, high = sorted((query, reference), key=VIEWS.index)
    single = {"drone", "satellite"} == {query, reference}
    return {
        "train": Counts(ground=train[low], aerial=train[high], pairs=train[low] if single else 0),
        "test": Counts(ground=test[low], aerial=test[high], pairs=0),
    }


def list_layout(root: Path, query: str, reference: str) -> list[Part]:
    """The folders that should be below ``root``; each holds a folder per building."""
    return [
        *(Part(path=f"train/{v}", holds="a folder per building") for v in (query, reference)),
        Part(path=f"test/query_{query}", holds="a folder per building", files=701),
        Part(
            path=f"test/gallery_{reference}",
            holds="a folder per building",
            files=793 if reference == "street" else 951,
        ),
    ]


def load(
    root: Path, *, check_files: bool = True, query: str, reference: str
) -> dict[str, PairTable]:
    """``train`` and ``test`` for queries of one view and references of another.

    BadData names the folder. There are no lists to check, so ``check_files`` changes nothing.
    """
    train = [_list_buildings(root / "train" / view) for view in (query, reference)]
    both = sorted(set(train[0]) & set(train[1]))
    if not both:
        raise BadData(f"{root / 'train'}: no building has both {query} and {reference} pictures.")
    queries = _list_buildings(root / "test" / f"query_{query}")
    gallery = _list_buildings(root / "test" / f"gallery_{reference}")
    if alone := sorted(set(queries) - set(gallery)):
        raise BadData(
            f"{root / 'test' / f'query_{query}' / alone[0]} has no partner in "
            f"gallery_{reference} ({len(alone)} such buildings).\n{HELP}"
        )
    paired = [{name: pictures[name] for name in both} for pictures in train]
    return {
        "train": _build_table(root, query, reference, *paired),
        "test": _build_table(root, query, reference, queries, gallery),
    }


def _list_buildings(folder: Path) -> dict[str, list[Path]]:
    """Pictures by building, both sorted by name, without system files and folders."""
    try:
        buildings = {path.name: list_files(path, PICTURES) for path in list_folders(folder)}
    except OSError as problem:
        raise BadData(f"No folder {folder}, where the official layout has it.\n{HELP}") from problem
    if empty := [name for name, pictures in buildings.items() if not pictures]:
        raise BadData(f"{folder / empty[0]} holds no pictures.")
    if not buildings:
        raise BadData(f"{folder} holds no buildings; an empty split cannot be used.")
    return buildings


def _build_table(
    root: Path,
    query: str,
    reference: str,
    queries: dict[str, list[Path]],
    gallery: dict[str, list[Path]],
) -> PairTable:
    upward = VIEWS.index(query) < VIEWS.index(reference)
    low, high = (queries, gallery) if upward else (gallery, queries)
    ground = [path for name in low for path in low[name]]
    aerial = [path for name in high for path in high[name]]
    g, a = _number_rows(low), _number_rows(high)
    pairs = [(i, j) for name in low if name in high for i in g[name] for j in a[name]]
    side = "ground" if upward else "aerial"
    return make_table(
        ground, aerial, pairs, perspective=True, queries=side, framing=FRAMING, root=root
    )


def _number_rows(buildings: dict[str, list[Path]]) -> dict[str, range]:
    rows, start = {}, 0
    for name, pictures in buildings.items():
        rows[name] = range(start, start + len(pictures))
        start += len(pictures)
    return rows
