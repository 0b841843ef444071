"""What a network with layout masks sees: its masks, how they agree, and pictures of both.

Masks of two views are correlated, matched against unmatched, on one common grid. Recall is measured
with both views in another layout too: mirrored and turned alike, a pair stays a pair. What is lost
then hung on directions that the training pictures have in common, such as where the sun stands;
layout simulation is made against that. One call looks at networks from all sides and keeps it:
several runs stand side by side, on the same pairs, and beside them what their trainings showed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from crossview.arrays import F32, F64, I64, U8
from crossview.errors import BadModel, InvalidValue
from crossview.evaluation.fast_scores import Space, make_space
from crossview.evaluation.metrics import recall
from crossview.evaluation.ranking import rank
from crossview.evaluation.task import Pairs, Relation
from crossview.files import atomic_write, make_folder, sweep
from crossview.networks import augmentations
from crossview.pairs.batch import normalise, to_batch
from crossview.pairs.loading import Reader, read_pair, read_whole_pictures
from crossview.pairs.table import PairTable
from crossview.stats import cluster_interval
from crossview.training.run_folder import RunFolder
from crossview.training.validation import embed_batch
from crossview.views.aerial import compute_polar_directions
from crossview.views.symmetry import Symmetry, apply_symmetry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIANTS = ("original", "unmatched", "flip", "rot90", "rot180", "rot270")


@dataclass(frozen=True, kw_only=True)
class Masks:
    """K masks of N pairs. Columns of both sides look at the same azimuths."""

    ground: F32  # [N, K, h, w]
    aerial: F32  # [N, K, h, w], unrolled about the centre if the network has not done so


def has_masks(model: nn.Module) -> bool:
    """Whether both branches can be asked for their layout."""
    return all(hasattr(getattr(model, side), "layout") for side in ("ground", "aerial"))


def compute_masks(model: Any, reader: Reader, rows: Sequence[int]) -> Masks:
    """The masks of these rows, on the ground side's grid, in eval mode.

    Raises InvalidValue for a network without masks.
    """
    if not has_masks(model):
        raise InvalidValue(
            "This network has no layout masks to show.\nMethods that do: geodtr, geodtr-plus, safa."
        )
    ground, aerial, views = [], [], reader.views
    device = next(model.parameters()).device
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        with torch.no_grad():
            layout = model.ground.layout(normalise(raw.ground, views.ground, device))
            above = model.aerial.layout(normalise(raw.aerial, views.aerial, device))
        ground.append(_maps(layout))
        size = (int(ground[-1].shape[2]), int(ground[-1].shape[3]))
        aerial.append(unroll_masks(_maps(above), size, polar=views.aerial.polar))
    return Masks(ground=torch.cat(ground).numpy(), aerial=torch.cat(aerial).numpy())


def render_views(reader: Reader, row: int, size: tuple[int, int]) -> tuple[U8, U8]:
    """The two views [h, w, 3] of a row as a network gets them, from above unrolled to ``size``."""
    raw = reader.batch(0, 0, [row])
    if reader.views.aerial.polar:
        return raw.ground[0], raw.aerial[0]
    square = torch.from_numpy(raw.aerial).permute(0, 3, 1, 2).float()
    strip = unroll_masks(square, size, polar=False)
    return raw.ground[0], strip[0].permute(1, 2, 0).round().byte().numpy()


def compute_distances(
    model: Any, reader: Reader, rows: Sequence[int], seed: int = 0
) -> dict[str, F32]:
    """2 - 2 cosine [N] between each aerial picture and variants of its panorama.

    "unmatched" takes another row's panorama. "flip" reverses the columns of its own, "rot90" and so
    on turn the camera (GeoDTR+, Figure 10); they are left out where photos are among the pictures,
    which cannot be turned.
    """
    views = reader.views
    quarters = (1, 2, 3) if only_panoramas(reader.table, rows) else ()
    by_variant: dict[str, list[F32]] = {}
    sides: list[tuple[F32, F32]] = []
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        width = raw.ground.shape[2]
        variants = {"original": raw.ground, "flip": raw.ground[:, :, ::-1]}
        variants |= {f"rot{90 * n}": np.roll(raw.ground, -n * (width // 4), 2) for n in quarters}
        for name, ground in variants.items():
            pair = embed_batch(model, views, np.ascontiguousarray(ground), raw.aerial)
            by_variant.setdefault(name, []).append(_distances(*pair))
            if name == "original":
                sides.append(pair)
    grounds, aerials = (np.concatenate(side) for side in zip(*sides, strict=True))
    by_variant["unmatched"] = [_distances(grounds[others(len(grounds), seed)], aerials)]
    return {name: np.concatenate(by_variant[name]) for name in VARIANTS if name in by_variant}


def only_panoramas(table: PairTable, rows: Sequence[int]) -> bool:
    """Whether the ground pictures of all ``rows`` look all around, so that they can be turned."""
    ground = table.pairs[np.asarray(rows), 0]
    return not (table.perspective[ground] | (table.fov_deg[ground] < 360.0)).any()


def _distances(ground: F32, aerial: F32) -> F32:
    distances: F32 = 2.0 - 2.0 * np.einsum("nd,nd->n", ground, aerial)
    return distances


def others(count: int, seed: int) -> I64:
    """For each of ``count`` rows another one, every row once; at least 2 rows are needed."""
    if count < 2:
        raise InvalidValue(f"Unmatched pairs need at least 2 rows, got {count}.")
    order = np.random.default_rng(seed).permutation(count)
    numbers = np.empty(count, dtype=np.int64)
    numbers[order] = np.roll(order, 1)
    return numbers


def unroll_masks(maps: Tensor, size: tuple[int, int], *, polar: bool) -> Tensor:
    """Aerial maps [N, K, h, w] on a grid of ``size`` whose columns are azimuths, as a panorama's.

    ``polar``: they are unrolled already and only resized; else bilinear about the centre.
    """
    if polar:
        if tuple(maps.shape[2:]) == size:
            return maps
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    right, down = (torch.from_numpy(d) for d in compute_polar_directions(*size))
    grid = torch.stack([right, down], dim=-1)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, align_corners=False, padding_mode="border")


def _maps(layout: Any) -> Tensor:
    rows, columns = layout.size
    maps: Tensor = layout.masks.float().cpu().transpose(1, 2)
    return maps.reshape(len(maps), -1, rows, columns)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Mean correlations over pairs, each (value, low, high) with a 95 % interval over pairs.

    ``own_*``: after the mean mask of each side is taken away, so that what all places have in
    common (a horizon, a vignette) does not count.
    """

    pairs: int
    matched: tuple[float, float, float]
    unmatched: tuple[float, float, float]
    own_matched: tuple[float, float, float]
    own_unmatched: tuple[float, float, float]
    separated: float  # chance that a matched pair correlates more than an unmatched one, "own"


def measure_alignment(masks: Masks, seed: int = 0) -> Alignment:
    """Correlate mask k of the ground with mask k from above, position by position, mean over k."""
    away = others(len(masks.ground), seed)
    ground, aerial = (_flat(m) for m in (masks.ground, masks.aerial))
    own_ground, own_aerial = (m - m.mean(axis=0) for m in (ground, aerial))
    own = (
        correlations(own_ground, own_aerial),
        correlations(own_ground[away], own_aerial),
    )
    return Alignment(
        pairs=len(ground),
        matched=_mean(correlations(ground, aerial)),
        unmatched=_mean(correlations(ground[away], aerial)),
        own_matched=_mean(own[0]),
        own_unmatched=_mean(own[1]),
        separated=_chance_of_more(*own),
    )


def correlations(first: F64, second: F64) -> F64:
    """[N] mean over k of Pearson's correlation over positions of [N, K, P] and [N, K, P].

    A mask that is the same everywhere correlates with nothing: 0.
    """
    one, two = (m - m.mean(axis=2, keepdims=True) for m in (first, second))
    scale = np.sqrt((one**2).sum(axis=2) * (two**2).sum(axis=2))
    products = (one * two).sum(axis=2)
    correlation: F64 = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12)
    return np.asarray(correlation.mean(axis=1))


def _flat(maps: F32) -> F64:
    return maps.reshape(*maps.shape[:2], -1).astype(np.float64)


def _mean(values: F64) -> tuple[float, float, float]:
    low, high = cluster_interval(values, np.arange(len(values)))
    return float(values.mean()), low, high


def _chance_of_more(more: F64, less: F64) -> float:
    """Of a random one of ``more`` being larger than a random one of ``less``; ties count half."""
    ordered = np.sort(less)
    below = np.searchsorted(ordered, more, "left") + np.searchsorted(ordered, more, "right")
    return float(below.mean() / (2 * len(less)))


def name_layout(layout: Symmetry) -> str:
    """In words, turns counter-clockwise as seen from above: "mirrored, turned by 90"."""
    turned = {
        "none": "",
        "right": "turned by 90",
        "back": "turned by 180",
        "left": "turned by 270",
    }
    words = ("mirrored" if layout.mirror else "", turned[layout.turn])
    return ", ".join(word for word in words if word) or "original"


LAYOUTS = {
    name_layout(layout): layout
    for layout in (
        Symmetry(),
        Symmetry(mirror=True),
        Symmetry(turn="right"),
        Symmetry(turn="back"),
        Symmetry(turn="left"),
    )
}


def measure_layout_recalls(model: Any, reader: Reader, rows: Sequence[int]) -> dict[str, float]:
    """R@1 in percent of these rows' panoramas among their aerial pictures, in each layout.

    Ranked as ``evaluate`` ranks: a tie with a wrong picture is no hit. Rows of one place are all
    right. Where photos are among them, which do not look all around, they are mirrored only.
    """
    places = reader.table.places()[np.asarray(rows)]
    relation = Relation(
        queries=len(rows),
        references=len(rows),
        right=Pairs.of(np.argwhere(places[:, None] == places[None])),
        near=Pairs.of(np.empty((0, 2), dtype=np.int64)),
    )
    turned = only_panoramas(reader.table, rows)
    return {
        name: 100.0 * recall(rank(_space(model, reader, rows, layout), relation).of_queries(), 1)
        for name, layout in LAYOUTS.items()
        if layout.turn == "none" or turned
    }


def _space(model: Any, reader: Reader, rows: Sequence[int], layout: Symmetry) -> Space:
    """The vectors of the rows' pictures in a layout."""
    views, sides, seen = reader.views, [], []
    model.eval()
    for raw in read_whole_pictures(reader, rows):
        pairs = [
            apply_symmetry(ground, aerial, layout, polar=views.aerial.polar)
            for ground, aerial in zip(raw.ground, raw.aerial, strict=True)
        ]
        grounds, aerials = (np.stack(side) for side in zip(*pairs, strict=True))
        sides.append(embed_batch(model, views, grounds, aerials))
        seen.append(raw.fov_deg)
    ground, aerial = (np.concatenate(side) for side in zip(*sides, strict=True))
    return make_space(views.azimuth_bins, ground, aerial, np.concatenate(seen))


COLOURS = ("#1b6ca8", "#8a8a8a", "#d1495b", "#edae49", "#66a182", "#7b4b94")
WIDEST_IN = 18.0  # of a figure of several runs: what a desk's screen shows
Drawn = tuple[tuple[U8, U8], tuple[F32, F32]]  # the two views of a pair, and their masks


@dataclass(frozen=True, kw_only=True)
class ExplainedRun:
    """A run to be explained."""

    name: str  # in figures
    model: nn.Module
    reader: Reader  # pairs as this run sees them, without ``augment``
    page: Any  # the method's, whose ``augment`` made its training pictures
    config: Any


def label_runs(runs: Sequence[Path]) -> list[str]:
    """How figures call these runs: by their folders' names, or by their paths if two are alike.

    Raises InvalidValue where one run is named twice.
    """
    places = [run.expanduser().resolve() for run in runs]
    if twice := next((run for n, run in enumerate(runs) if places[n] in places[:n]), None):
        raise InvalidValue(
            f"{twice} is named twice: beside itself a run shows nothing.\nName each run once."
        )
    names = [place.name for place in places]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def require_one_kind(subjects: Sequence[ExplainedRun]) -> None:
    """InvalidValue unless all of the runs have layout masks, or none: else figures have gaps."""
    masked = [has_masks(subject.model) for subject in subjects]
    if len(set(masked)) > 1:
        has, lacks = (
            subjects[masked.index(True)].name,
            subjects[masked.index(False)].name,
        )
        raise InvalidValue(
            f"{has} has layout masks and {lacks} has none: side by side stand runs of one kind.\n"
            "Explain them one by one, or name runs of geodtr, geodtr-plus and safa only."
        )


def draw_masks(path: Path, drawn: Mapping[str, Drawn]) -> None:
    """One pair as each run sees it: two columns a run, the views on top, below them the masks.

    Both columns of a run span the same azimuths; from above, the bottom row is the camera. Views
    are [h, w, 3], masks [K, h, w]; runs may have different K (GeoDTR+, Figure 8).
    """
    columns = [
        (view, own, title if len(drawn) == 1 else f"{name}: {title}")
        for name, (views, masks) in drawn.items()
        for view, own, title in zip(views, masks, ("ground", "from above, unrolled"), strict=True)
    ]
    most = max(len(own) for _, own, _ in columns)
    width = min(4.5 * len(columns), WIDEST_IN)
    figure, axes = _figure(most + 1, len(columns), (width, 1.15 * (most + 1)))
    for column, (view, own, title) in enumerate(columns):
        axes[0][column].imshow(view)
        axes[0][column].set_title(title, fontsize=9)
        for k, mask in enumerate(own):
            axes[k + 1][column].imshow(mask, cmap="viridis", aspect="auto")
        for axis in (row[column] for row in axes):
            axis.set_xticks([])
            axis.set_yticks([])
        for row in axes[len(own) + 1 :]:
            row[column].set_axis_off()
    for k in range(most):
        axes[k + 1][0].set_ylabel(f"{k + 1}", rotation=0, labelpad=8, fontsize=8)
    _save(figure, path)


def draw_distances(path: Path, distances: Mapping[str, Mapping[str, F32]]) -> None:
    """Histograms of the distances of each kind, 0 to 4: an axis a run (GeoDTR+, Figure 10)."""
    runs = len(distances)
    figure, axes = _figure(1, runs, (min(7.0 * runs, WIDEST_IN), 3.4), alike=True)
    largest = max(float(d.max()) for kinds in distances.values() for d in kinds.values())
    bins = np.linspace(0.0, max(2.4, largest), 61)
    for (run, kinds), axis in zip(distances.items(), axes[0], strict=True):
        for (name, values), colour in zip(kinds.items(), COLOURS, strict=False):
            label = f"{name}, mean {values.mean():.2f}"
            axis.hist(values, bins, histtype="step", label=label, color=colour, linewidth=1.6)
        axis.set_xlabel("distance to the aerial picture (2 - 2 cosine)")
        axis.legend(fontsize=8, frameon=False)
        if runs > 1:
            axis.set_title(run, fontsize=9)
    axes[0][0].set_ylabel("pictures")
    _save(figure, path)


Cell = tuple[str, U8, U8]  # a title, a ground view, the view from above
CELLS = DRAWS = 8  # cells in a line; pictures that are drawn as training would


def draw_samples(path: Path, subjects: Sequence[ExplainedRun], row: int) -> bool:
    """What training shows of one pair: the layouts it may have, and some draws (GeoDTR+, Figure 4).

    Under CHSG a draw is two copies of a place, in two layouts and other colours. Returns whether
    there was anything to draw: pages for use only train nothing.
    """
    shown = [subject for subject in subjects if hasattr(subject.page, "augment")]
    blocks: dict[str, list[Cell]] = {}
    layouts = [_list_layout_cells(subject, row) for subject in shown]
    for subject, cells in zip(shown, layouts, strict=True):
        titles = [title for title, _, _ in cells]
        same = all([title for title, _, _ in other] == titles for other in layouts)
        start = "" if same else f"{subject.name}: "
        if len(cells) > 1:
            blocks[f"{start}the {len(cells)} layouts of this pair"] = cells
    for subject in shown:
        copies = list(_draw_copies(subject, row))
        start = f"{subject.name}: " if len(shown) > 1 else ""
        several = "" if len(copies[0]) == 1 else f", {len(copies[0])} copies of the place each time"
        blocks[f"{start}as training draws it{several}"] = [c for cells in copies for c in cells]
    if blocks:
        _draw_blocks(path, blocks)
    return bool(blocks)


def _list_layout_cells(subject: ExplainedRun, row: int) -> list[Cell]:
    """The pair in each layout that the run's setting ``layout`` allows; none without such."""
    strength = getattr(subject.config, "layout", None)
    if strength is None:
        return []
    spec, reader = subject.reader.views.aerial, subject.reader
    pair = augmentations.finish_aerial(read_pair(reader.table, reader.source, row), spec)
    cells = []
    for layout in augmentations.list_layouts(pair, strength):
        changed = augmentations.change_layout(pair, layout, polar=spec.polar)
        cells.append((name_layout(layout), changed.ground, changed.aerial))
    return cells


def _draw_copies(subject: ExplainedRun, row: int) -> Iterator[list[Cell]]:
    """The copies of some draws, each with a generator of its own, as in a training."""
    reader, spec = subject.reader, subject.reader.views.aerial
    for number in count(1):
        pair = read_pair(reader.table, reader.source, row)
        rng = np.random.default_rng((reader.seed, number, row))
        made = subject.page.augment(pair, subject.config, rng)
        copies = made if isinstance(made, tuple) else (made,)
        names = [f", copy {place + 1}" if len(copies) > 1 else "" for place in range(len(copies))]
        seen = [augmentations.finish_aerial(copy, spec) for copy in copies]
        yield [
            (f"draw {number}{name}", copy.ground, copy.aerial)
            for name, copy in zip(names, seen, strict=True)
        ]
        if (number + 1) * len(copies) > DRAWS:
            return


def _draw_blocks(path: Path, blocks: Mapping[str, Sequence[Cell]]) -> None:
    """Cells in lines below the heading of their block, the ground view over that from above."""
    from matplotlib.figure import Figure as Canvas

    lines = {heading: -(-len(cells) // CELLS) for heading, cells in blocks.items()}
    square = any(a.shape[0] * 2 > a.shape[1] for cells in blocks.values() for _, _, a in cells)
    ratios = [0.65, 1.4 if square else 0.5]
    heights = [0.35 + sum(ratios) * count for count in lines.values()]
    figure = Canvas(figsize=(WIDEST_IN, sum(heights)), dpi=110, layout="constrained")
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)
    for (heading, cells), (part,) in zip(blocks.items(), parts, strict=True):
        part.suptitle(heading, fontsize=10, x=0.01, ha="left")
        rows = 2 * lines[heading]
        several = ratios * lines[heading]
        axes = part.subplots(rows, CELLS, squeeze=False, height_ratios=several)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, (title, ground, aerial) in enumerate(cells):
            line, column = divmod(number, CELLS)
            axes[2 * line][column].imshow(ground)
            axes[2 * line][column].set_title(title, fontsize=8)
            axes[2 * line + 1][column].imshow(aerial)
    _save(figure, path)


def draw_pictures(path: Path, subjects: Sequence[ExplainedRun], row: int) -> bool:
    """What networks draw of one pair, between its ground view and that from above: a column a run.

    A page tells it by ``pictures`` (model, batch, config): [B, 3, h, w] in [0, 1] by name. Returns
    whether there was anything to draw.
    """
    able = [subject for subject in subjects if hasattr(subject.page, "pictures")]
    columns = [_list_pictures(subject, row) for subject in able]
    if not columns:
        return False
    most = max(map(len, columns))
    width = min(6.0 * len(columns), WIDEST_IN)
    figure, axes = _figure(most, len(columns), (width, 1.3 * most))
    for axis in axes.flat:
        axis.set_axis_off()
    for column, (subject, cells) in enumerate(zip(able, columns, strict=True)):
        start = f"{subject.name}: " if len(able) > 1 else ""
        for line, (name, picture) in enumerate(cells.items()):
            axes[line][column].imshow(picture)
            axes[line][column].set_title(f"{start}{name}", fontsize=8)
    _save(figure, path)
    return True


def _list_pictures(subject: ExplainedRun, row: int) -> dict[str, U8]:
    """The views of a pair and what the network draws of them, [h, w, 3] by name."""
    raw = subject.reader.batch(0, 0, [row])
    batch = to_batch(raw, subject.reader.views, next(subject.model.parameters()).device)
    subject.model.eval()
    with torch.no_grad():
        drawn = subject.page.pictures(subject.model, batch, subject.config)
    shown = {
        name: (255.0 * values[0].clamp(0.0, 1.0)).round().byte().permute(1, 2, 0).cpu().numpy()
        for name, values in drawn.items()
    }
    return {"ground": raw.ground[0], **shown, "from above": raw.aerial[0]}


def draw_courses(path: Path, runs: Sequence[Path]) -> None:
    """The loss of several trainings, smoothed, step by step (GeoDTR+, Figure 9)."""
    figure, axes = _figure(1, 1, (7.0, 3.4))
    for number, (run, name) in enumerate(zip(runs, label_runs(runs), strict=True)):
        steps, losses = course(run)
        smooth = _smooth(losses, max(1, len(losses) // 50))
        colour = COLOURS[number % len(COLOURS)]
        axes[0][0].plot(steps[: len(smooth)], smooth, label=name, color=colour, linewidth=1.4)
    axes[0][0].set_xlabel("step")
    axes[0][0].set_ylabel("loss")
    axes[0][0].set_yscale("log")
    axes[0][0].legend(fontsize=8, frameon=False)
    _save(figure, path)


def course(run: Path) -> tuple[I64, F64]:
    """Steps and losses of a training's log; BadModel where there is none."""
    folder = RunFolder(run)
    if not folder.log.is_file():
        raise BadModel(f"{run} has no log.jsonl: not a training, or an imported one.")
    entries = [entry for entry in folder.entries()[0] if "loss" in entry]
    if not entries:
        raise BadModel(f"{folder.log} holds no step of a training.")
    try:
        steps, losses = (
            [int(e["step"]) for e in entries],
            [float(e["loss"]) for e in entries],
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise BadModel(f"{folder.log} is damaged: a step or a loss is no number.") from problem
    return np.array(steps), np.array(losses)


def _smooth(values: F64, width: int) -> F64:
    total = np.cumsum(np.insert(values, 0, 0.0))
    return np.asarray((total[width:] - total[:-width]) / width)


def _figure(
    rows: int, columns: int, size: tuple[float, float], *, alike: bool = False
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=size, dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=alike, sharey=alike)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


SUMMARY_NAME = "explain.json"


def explain(
    subjects: Sequence[ExplainedRun], rows: Sequence[int], out: Path, *, shown: int = 3
) -> dict[str, Any]:
    """Distances of variants, recall in other layouts; of masks their alignment, and some drawn.

    Each figure shows all of the runs side by side, on the same rows. Writes ``distances.png``,
    ``masks-ROW.png``, ``samples-ROW.png``, where networks draw ``pictures-ROW.png``, and
    ``explain.json`` into ``out``; returns what the last holds: the first run's figures, and of
    several runs "runs", those of each.
    """
    require_one_kind(subjects)
    sweep(make_folder(out))
    records: list[dict[str, Any]] = []
    distances: dict[str, dict[str, F32]] = {}
    pictures: list[dict[str, Drawn]] = [{} for _ in rows[:shown]]
    for subject in subjects:
        name, model, reader = subject.name, subject.model, subject.reader
        distances[name] = compute_distances(model, reader, rows)
        record: dict[str, Any] = {"pairs": len(rows)}
        record["distances"] = {
            kind: {
                "mean": float(d.mean()),
                "median": float(np.median(d)),
                "std": float(d.std()),
            }
            for kind, d in distances[name].items()
        }
        record["recall"] = measure_layout_recalls(model, reader, rows)
        if has_masks(model):
            masks = compute_masks(model, reader, rows)
            record["alignment"] = asdict(measure_alignment(masks))
            size = (reader.views.ground.height_px // 2, reader.views.ground.width_px)
            for place, drawn in enumerate(pictures):
                pair = (masks.ground[place], masks.aerial[place])
                drawn[name] = (render_views(reader, rows[place], size), pair)
        records.append(record)
    draw_distances(out / "distances.png", distances)
    for row, drawn in zip(rows, pictures, strict=False):
        if drawn:
            draw_masks(out / f"masks-{row}.png", drawn)
        draw_samples(out / f"samples-{row}.png", subjects, row)
        draw_pictures(out / f"pictures-{row}.png", subjects, row)
    whole = dict(records[0])
    if len(subjects) > 1:
        whole["runs"] = [
            {"run": subject.name, **record}
            for subject, record in zip(subjects, records, strict=True)
        ]
    atomic_write(out / SUMMARY_NAME, json.dumps(whole, indent=2) + "\n")
    return whole


def explain_courses(runs: Sequence[Path], out: Path) -> None:
    """``courses.png``: the losses of these trainings."""
    label_runs(runs)
    sweep(make_folder(out))
    draw_courses(out / "courses.png", runs)
