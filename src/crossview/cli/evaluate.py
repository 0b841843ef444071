"""``crossview evaluate``: a model, or anyone's vectors or rankings, under the field's protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.cli.runs import METHOD_HELP
from crossview.errors import InvalidValue


def evaluate(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    data: Annotated[str, typer.Option(help="NAME:ROOT of a benchmark, or pairs:FILE")],
    model: Annotated[
        str, typer.Argument(help="Run folder, model folder, or a packaged name.")
    ] = "",
    split: Annotated[str, typer.Option(help="Which split of the data.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for the records.")] = None,
    fov: Annotated[str, typer.Option(help="360,180,90,70 and any, with commas.")] = "",
    headings: Annotated[
        str, typer.Option(help="aligned, unknown, or known within so many degrees.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="How many draws of the headings.")] = 1,
    corrupt: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:SEVERITY of ground pictures.")
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
    radius: Annotated[float, typer.Option(help="Everything within so many metres is right.")] = 0.0,
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
        bool, typer.Option("--consistency", help="Only measure what a run folder looks at.")
    ] = False,
    label: Annotated[str, typer.Option(help="Name in tables.")] = "",
    method: Annotated[Path | None, typer.Option(help=METHOD_HELP)] = None,
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

    Instead of a model: vectors or rankings that any other program made.
    """
    if consistency:
        from crossview.cli.consistent import evaluate_consistency

        evaluate_consistency(Path(model), method, data, split, out, device)
        return
    from crossview import wiring
    from crossview.cli.evaluating import Request, evaluate_elsewhere, evaluate_model

    elsewhere = [path is not None for path in (query_embeddings, reference_embeddings, ranking)]
    if bool(model) == any(elsewhere) or elsewhere not in (
        [False, False, False],
        [True, True, False],
        [False, False, True],
    ):
        raise InvalidValue(
            "Give one of: a model; --query-embeddings with --reference-embeddings; --ranking."
        )
    request = Request(
        data=wiring.data_name(data),
        split=split,
        out=out,
        label=label,
        radius_m=radius,
        fov=fov,
        headings=headings,
        seeds=seeds,
        corrupt=tuple(corrupt or ()),
        hard_samples=hard_samples,
        representation=representation,
        off_protocol=off_protocol,
        page=method,
        decoding=decoding,
        cache=cache,
        skip_unreadable=skip_unreadable,
        batch=batch,
        workers=workers,
        device=device,
        threads=threads,
        quiet=quiet,
    )
    if model:
        evaluate_model(request, model)
    else:
        evaluate_elsewhere(request, query_embeddings, reference_embeddings, ranking)
