"""``crossview export``: a run folder becomes a model that index and locate can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.cli import console
from crossview.errors import InvalidValue


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of crossview train.")],
    out: Annotated[
        Path, typer.Option(help="Folder for model.json and the ONNX files, or its model.onnx.")
    ],
    half: Annotated[
        bool, typer.Option("--half", help="Store weights as float16: half the size.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the model; default: method and run.")] = "",
    method: Annotated[str | None, typer.Option(help=console.METHOD_HELP)] = None,
) -> None:
    """Write a trained network as ONNX, checked to give the embeddings of the original."""
    import logging

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    from crossview.training.export import export as write

    folder = out.parent if out.suffix == ".onnx" else out
    if out.suffix == ".onnx" and out.name != "model.onnx":
        raise InvalidValue(
            f"--out {out}: the file of a model is always called model.onnx, because model.json "
            "is beside it.\nGive the folder instead."
        )
    trained = console.open_run(run, method)
    exported = write(
        trained.folder,
        trained.page,
        trained.config,
        folder,
        views=trained.views,
        half=half,
        name=name,
    )
    console.note(
        f"{console.format_size(exported.bytes)}, vectors of {exported.info.dim} numbers, "
        f"largest difference from the original {exported.difference:.1g}."
    )
    console.print_result(str(exported.folder))
