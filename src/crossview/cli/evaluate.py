"""``crossview evaluate``: a model, or anyone's vectors or rankings, under the field's protocols."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import config, console
from crossview.errors import InvalidValue, require
from crossview.files import atomic_write, make_folder, sweep
from crossview.locks import lock

if TYPE_CHECKING:
    from crossview.assessment import AssessmentOptions
    from crossview.catalogue import Run
    from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol
    from crossview.evaluation.run_comparison import FieldsMean
    from crossview.pairs.loading import Reader

# Of --consistency: pairs of the split to measure on, those to draw, and the seed of both.
CONSISTENCY_PAIRS, CONSISTENCY_DRAWN, CONSISTENCY_SEED = 100, 3, 0


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """One evaluation, of the command line or of ``crossview train --test``."""

    options: AssessmentOptions
    out: Path | None = None
    quiet: bool = False


def evaluate(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    data: Annotated[str, typer.Option(help="NAME:ROOT of a benchmark, or pairs:FILE")],
    model: Annotated[
        str, typer.Argument(help="Run folder, model folder, or a packaged name.")
    ] = "",
    split: Annotated[str, typer.Option(help="Which split of the data.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for the records.")] = None,
    fov: Annotated[
        str, typer.Option(help="Degrees, with commas, such as 360,90; any: drawn per query.")
    ] = "",
    headings: Annotated[
        str, typer.Option(help="aligned, unknown, or degrees: known to within so many.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Number of draws of the headings.")] = 1,
    corrupt: Annotated[
        list[str] | None,
        typer.Option(help="Damage of ground pictures: NAME or NAME:SEVERITY; repeatable."),
    ] = None,
    hard_samples: Annotated[
        bool, typer.Option("--hard-samples", help="Also score mirrored and turned queries.")
    ] = False,
    representation: Annotated[
        str, typer.Option(help="narrow or padded, instead of the model's.")
    ] = "",
    off_protocol: Annotated[
        bool, typer.Option("--off-protocol", help="Allow what the model was not trained for.")
    ] = False,
    radius: Annotated[
        float, typer.Option(help="Count everything within so many metres as right.")
    ] = 0.0,
    query_embeddings: Annotated[
        Path | None, typer.Option(help="Vectors of queries: .npy or .npz.")
    ] = None,
    reference_embeddings: Annotated[
        Path | None, typer.Option(help="Vectors of references: .npy or .npz.")
    ] = None,
    ranking: Annotated[
        Path | None, typer.Option(help="CSV query,reference,score of a re-ranker.")
    ] = None,
    consistency: Annotated[
        bool,
        typer.Option("--consistency", help="Only measure whether a run looks at the same things."),
    ] = False,
    label: Annotated[str, typer.Option(help="Name of the model in tables.")] = "",
    method: Annotated[Path | None, typer.Option(help=console.METHOD_HELP)] = None,
    decoding: Annotated[str, typer.Option(help="exact or fast")] = "exact",
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave broken pictures out, and count them.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Pictures per batch.")] = 32,
    workers: Annotated[int, typer.Option(help="Loading processes; 0: none.")] = 1,
    device: Annotated[str, typer.Option(help="Of a run: auto, cpu, cuda, cuda:N or mps")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only results and warnings.")] = False,
) -> None:
    """Measure a model under the field's protocols, with intervals and metres.

    Instead of a model, it takes vectors or rankings that another program made.
    """
    if consistency:
        _measure_consistency(Path(model), method, data, split, out, device)
        return
    from crossview import catalogue
    from crossview.assessment import AssessmentOptions

    files = [path is not None for path in (query_embeddings, reference_embeddings, ranking)]
    if bool(model) == any(files) or files not in (
        [False, False, False],
        [True, True, False],
        [False, False, True],
    ):
        raise InvalidValue(
            "Give one of: a model; --query-embeddings with --reference-embeddings; --ranking."
        )
    options = AssessmentOptions(
        data=catalogue.data_name(data),
        split=split,
        label=label,
        radius_m=radius,
        fov=fov,
        headings=headings,
        seeds=seeds,
        corrupt=tuple(corrupt or ()),
        hard_samples=hard_samples,
        representation=representation,
        off_protocol=off_protocol,
        method=method,
        decoding=decoding,
        cache=cache,
        skip_unreadable=skip_unreadable,
        batch=batch,
        workers=workers,
        device=device,
        threads=threads,
        command=command_line(),
    )
    command = EvaluateCommand(options=options, out=out, quiet=quiet)
    if model:
        evaluate_model(command, model)
    else:
        _evaluate_vectors(command, query_embeddings, reference_embeddings, ranking)


def evaluate_model(command: EvaluateCommand, model: str) -> None:
    """Embed the split's pictures under every condition, write a record each, print figures."""
    from crossview.assessment import open_assessment
    from crossview.evaluation.run_comparison import means_over_fields, write_means

    def note(text: str) -> None:
        console.note(text, quiet=command.quiet)

    assessment = open_assessment(command.options, model, note, console.warn)
    records = []
    with _show_progress(command) as progress:
        for folder, record in assessment.measure(progress):
            _write(command, record, folder)
            records.append(record)
    means = means_over_fields(records)
    if command.out is not None and means:
        note(f"Wrote {write_means(command.out, means)}")
    _print_figures(records, means)
    for text in assessment.warnings:
        console.warn(text)


@contextmanager
def _show_progress(command: EvaluateCommand) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each job, which ends when the job is done."""
    with ExitStack() as stack:
        bars: dict[str, console.Bar] = {}
        ended: set[str] = set()

        def progress(title: str, done: int, total: int) -> None:
            if title in ended:
                return
            if title not in bars:
                bar = console.show_progress(title, unit="pictures", quiet=command.quiet)
                bars[title] = stack.enter_context(bar)
            bars[title].update(done, total)
            if done >= total:
                stack.close()
                ended.add(title)

        yield progress


def folder_name(data: str) -> str:
    """A name for a folder from ``NAME:ROOT``."""
    kind, _, root = data.partition(":")
    return "-".join(filter(None, [kind if root else "", Path(root or kind).stem]))


def _evaluate_vectors(
    command: EvaluateCommand, queries: Path | None, references: Path | None, ranking: Path | None
) -> None:
    """The same figures and record for vectors or rankings that another program made."""
    from crossview.assessment import make_rules, read_table
    from crossview.evaluation.evaluation_record import Protocol
    from crossview.evaluation.metrics import RunFacts, make_record
    from crossview.evaluation.task import make_task
    from crossview.evaluation.vectors import rank_vectors, read_ranking

    options = command.options
    table = read_table(
        options, lambda text: console.note(text, quiet=command.quiet), check_files=False
    )
    task = make_task(table, options.data, options.split, make_rules(options))
    warnings: list[str] = []
    if ranking is not None:
        answers, name = read_ranking(task, ranking), ranking.stem
    elif queries is not None and references is not None:
        answers, warnings = rank_vectors(task, queries, references)
        name = queries.parent.name or queries.stem
    protocol = Protocol(relation=task.relation.words, **_read_protocol(options))
    about = RunFacts(
        label=options.label or name, method="elsewhere", protocol=protocol, command=options.command
    )
    record = make_record(task, answers, about)
    _write(command, record, "")
    _print_figures([record])
    for text in warnings:
        console.warn(text)


def _read_protocol(options: AssessmentOptions) -> dict[str, Any]:
    """What the queries of vectors or rankings show, as the options state it."""
    from crossview.assessment import read_representation
    from crossview.evaluation.conditions import parse_conditions

    unstated = "as given"
    stated: dict[str, Any] = {"headings": unstated, "fov_deg": None, "representation": unstated}
    if options.representation:
        stated["representation"] = read_representation(options.representation)
    if options.fov or options.headings:
        cells = parse_conditions(options.fov or "360", options.headings or "unknown", 1, [])
        require(len(cells) == 1, "Vectors show one field of view. Give one --fov.")
        stated |= {"headings": cells[0].headings, "fov_deg": cells[0].fov_deg}
    return stated


def _write(command: EvaluateCommand, record: Evaluation, folder: str) -> None:
    if command.out is not None:
        record.write(command.out / folder)
        console.note(f"Wrote {command.out / folder}", quiet=command.quiet)


def command_line() -> str:
    """The command for records: as it was typed, with the defaults that files and variables set."""
    verb, typed = sys.argv[1:2], sys.argv[2:]
    return shlex.join(["crossview", *verb, *config.list_untyped(typed), *typed])


def _print_figures(records: Sequence[Evaluation], means: Sequence[FieldsMean] = ()) -> None:
    """One record: a line per figure with its interval; several: a row each, then means.

    ``means``: over fields of view, one for each way of treating headings.
    """
    first = records[0]
    lines = [
        f"{first.label} on {first.data}, split {first.split}",
        f"  {len(first.queries.ids)} queries, {len(first.references.ids)} references; R@1% is "
        f"R@{first.k_at_1_percent}; {first.protocol.relation}",
    ]
    if first.skipped:
        lines.append(f"  {first.skipped} queries left out: pictures that cannot be read")
    if len(records) == 1:
        lines += [f"  {_condition(first.protocol)}", *_figure_lines(first)]
    else:
        lines += _rows(records, means)
    lines += [f"  * {text}" for text in _marks(records)]
    lines.append("  in brackets: 95 % intervals over queries, one training")
    console.print_result("\n".join(lines))


def _figure_lines(record: Evaluation) -> Iterator[str]:
    mark = "*" if record.protocol.off_protocol else " "
    width = max(24, *(len(figure.name) for figure in record.figures))
    for f in record.figures:
        name, interval = f.name.ljust(width), f"[{f.low:.2f}, {f.high:.2f}]"
        yield f"{mark} {name} {f.value:7.2f} {f.unit:3} {interval}  n = {f.n}"


def _rows(records: Sequence[Evaluation], means: Sequence[FieldsMean]) -> Iterator[str]:
    from crossview.evaluation.metrics import METRICS, mean_name
    from crossview.evaluation.run_comparison import FIELDS_WORDS

    names = [name for name, m in METRICS.items() if m.listed and records[0].figure(name)]
    titles = {f"mean over {FIELDS_WORDS}, {_beside_fov(m.protocol)}": m for m in means}
    width = max(*(len(_condition(r.protocol)) + 8 for r in records), *map(len, titles), 0) + 2
    yield "  " + "condition".ljust(width) + "".join(f"{name:>17}" for name in names)
    by_protocol: dict[Protocol, list[Evaluation]] = {}
    for record in records:
        by_protocol.setdefault(record.protocol, []).append(record)
    for protocol, same in by_protocol.items():
        mark = "* " if protocol.off_protocol else "  "
        for record in same:
            seeds = ", ".join(map(str, record.seeds))
            name = f"{_condition(protocol)}; seed {seeds}"
            yield mark + name.ljust(width) + "".join(_cell(record.figure(name)) for name in names)
        if len(same) > 1:
            cells = "".join(f"{_mean(same, name):>17}" for name in names)
            yield mark + f"mean of {len(same)} seeds +- spread".ljust(width) + cells
    for title, mean in titles.items():
        mark = "* " if mean.protocol.off_protocol else "  "
        cells = "".join(_cell(mean.figure(mean_name(name))) for name in names)
        yield mark + title.ljust(width) + cells


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return " " * 17
    return f"{figure.value:.1f} [{figure.low:.0f}, {figure.high:.0f}]".rjust(17)


def _mean(records: Sequence[Evaluation], name: str) -> str:
    """The mean over seeds, and half of what lies between the lowest and the highest."""
    values = [figure.value for record in records if (figure := record.figure(name))]
    return f"{sum(values) / len(values):.1f} +- {(max(values) - min(values)) / 2:.1f}"


def _condition(protocol: Protocol) -> str:
    if protocol.headings == "as given":
        return "as given"
    fov = "field of view drawn" if protocol.fov_deg is None else f"{protocol.fov_deg:g} degrees"
    return f"{fov}, {_beside_fov(protocol)}"


def _beside_fov(protocol: Protocol) -> str:
    facts = [f"heading {protocol.headings}", protocol.representation, protocol.corruption]
    return ", ".join(filter(None, facts))


def _marks(records: Sequence[Evaluation]) -> list[str]:
    """What makes figures not comparable, each once."""
    texts = [text for record in records for text in record.protocol.off_protocol]
    return [f"NOT COMPARABLE: {text}" for text in dict.fromkeys(texts)]


def _measure_consistency(
    run: Path, method: Path | None, data: str, split: str, out: Path | None, device: str
) -> None:
    """Print the indices beside those of random weights; with ``out`` keep them, and heat maps.

    Raises InvalidValue for a model without gradients (an exported one).
    """
    import numpy as np
    import torch

    from crossview.assessment import is_run
    from crossview.explain.consistency import measure_consistency
    from crossview.training.device import open_device
    from crossview.training.session import build_without_weights
    from crossview.training.train_state import load_weights

    if not is_run(run):
        raise InvalidValue(
            f"--consistency needs gradients, and {run} has none.\n"
            "Give a run folder that crossview train or crossview import made."
        )
    opened = console.open_run(run, method)
    reader = _open_reader(data, split, opened)
    order = np.random.default_rng(CONSISTENCY_SEED).permutation(len(reader.table))
    rows = [int(row) for row in order[:CONSISTENCY_PAIRS]]
    torch.manual_seed(CONSISTENCY_SEED)
    model = build_without_weights(opened.page, opened.config).to(open_device(device)).eval()
    untrained = measure_consistency(model, reader, rows)
    load_weights(model, opened.folder.weights)
    trained = measure_consistency(model, reader, rows)
    for name, index in trained.items():
        console.print_result(
            f"{name}: {index.value:.3f} [{index.low:.3f}, {index.high:.3f}], "
            f"random weights {untrained[name].value:.3f}"
            + (f", {100 * index.blank:.0f} % of maps blank" if index.blank else "")
        )
    console.note(f"{len(rows)} pairs; values are (SSIM + 1) / 2; a constant map has 1.")
    if out is not None:
        _write_consistency(
            out, model, reader, rows, {"trained": trained, "random weights": untrained}
        )


def _open_reader(data: str, split: str, run: Run) -> Reader:
    from crossview import catalogue
    from crossview.pairs.loading import make_plain_reader

    source = catalogue.open_data(data)
    return make_plain_reader(
        run.frame(source.table(split), source.name), run.views, CONSISTENCY_SEED
    )


def _write_consistency(
    out: Path, model: Any, reader: Reader, rows: list[int], indices: dict[str, Any]
) -> None:
    from crossview.explain.consistency import draw_attention

    plain = {
        weights: {name: asdict(index) for name, index in named.items()}
        for weights, named in indices.items()
    }
    record = {"pairs": len(rows), "rows": rows, "indices": plain}
    with lock(out, "crossview evaluate --consistency", wait=True, make_parents=True):
        sweep(make_folder(out))
        atomic_write(out / "consistency.json", json.dumps(record, indent=2) + "\n")
        for row in rows[:CONSISTENCY_DRAWN]:
            draw_attention(out / f"attention-{row}.png", model, reader, row)
    console.print_result(str(out))
