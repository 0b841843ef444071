"""``crossview train``: a method, pairs, and a run folder that can be interrupted at any time."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, nullcontext
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import InvalidValue, require

if TYPE_CHECKING:
    from crossview.training.cost import TrainingFootprint
    from crossview.training.loop import StepReport
    from crossview.training.session import Session
    from crossview.training.train_state import TrainState
    from crossview.training.validation import Recall

LONG_STEP_S = 30.0  # from here on --dry-run tries one step, not three


def train(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    method: Annotated[str, typer.Option(help="Name of a method, or a page: ./mine.py")],
    data: Annotated[
        list[str],
        typer.Option(
            help="pairs:FILE.csv, town or town:FOLDER; repeatable: every batch holds as many pairs "
            "of each."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder; an existing run is continued.")],
    recipe: Annotated[str, typer.Option(help="Published settings, such as cvusa or vigor.")] = "",
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    reading: Annotated[
        str, typer.Option(help="release: as the authors' code (all recipes). intent: ours.")
    ] = "",
    epochs: Annotated[float | None, typer.Option(help="Passes over the training pairs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs per batch.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Backbone weights: safetensors, pth, or the run that a stage starts from."
        ),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained/--no-pretrained", help="Start from the hub's weights.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(help="Loading processes; 0: none.")] = 1,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded pictures; faster from epoch 2 on.")
    ] = None,
    decoding: Annotated[
        str, typer.Option(help="exact: as the papers resize. fast: DCT-scaled, then by area.")
    ] = "exact",
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="Leave out pictures that cannot be read, and count them."
        ),
    ] = False,
    val_share: Annotated[
        float, typer.Option(help="Share of training places that is only reported on.")
    ] = 0.05,
    save_every: Annotated[int, typer.Option(help="Steps between saved states.")] = 200,
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations; 0: at the end.")
    ] = 0,
    until: Annotated[
        int, typer.Option(help="Stop after this step of the schedule; 0: at its end.")
    ] = 0,
    test: Annotated[
        list[str] | None,
        typer.Option(help="NAME:ROOT to evaluate the finished run on; repeatable."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard files.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build, train three steps, print time and memory; keep nothing."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a method on pairs of ground and aerial pictures.

    The same command continues a stopped or killed run, and ends with the same weights. On many
    devices: torchrun -m crossview train ... (docs/training.md).
    """
    from crossview import catalogue
    from crossview.training.contract import check_names, require_trainable
    from crossview.training.ranks import open_ranks
    from crossview.training.session import Request

    method = catalogue.method_name(method)
    module = catalogue.method_page(method).load()
    require_trainable(module, method)
    with open_ranks(device) as ranks:
        quiet = quiet or not ranks.is_first
        with ranks.sharing_errors():
            require(
                ranks.count == 1 or not dry_run,
                "--dry-run is for one device; start it without torchrun.",
            )
            settings: dict[str, Any] = catalogue.recipe(method, recipe) if recipe else {}
            settings |= console.read_settings(config)
            shortcuts = {"epochs": epochs, "steps": steps, "batch": batch, "lr": lr, "seed": seed}
            settings |= {name: value for name, value in shortcuts.items() if value is not None}
            check_names(module, method)
            settings |= _weights_setting(module, weights, pretrained)
            settings |= _reading_setting(module, method, reading)
            page, values = catalogue.configure(method, settings)
            source = catalogue.open_parts(data, check_files=not skip_unreadable)
            for text in (*source.differs, *source.notes):
                console.note(f"{source.name}: {text}.", quiet=quiet)
            request = Request(
                method=method,
                page=page,
                config=values,
                renew=partial(catalogue.renew_settings, method),
                data=source.name,
                tables=source.tables,
                info=source.info,
                out=out,
                device=device,
                workers=workers,
                cache=cache,
                decoding=decoding,
                skip_unreadable=skip_unreadable,
                val_share=val_share,
                save_every=save_every,
                validate_every=validate_every,
                until=until,
                ranks=ranks,
            )
        if threads:
            import torch

            torch.set_num_threads(threads)
        if dry_run:
            _dry_run(request, quiet)
            return
        _train(request, tensorboard, quiet)
    if ranks.is_first:
        console.print_result(str(request.out))
        _evaluate(request, test or [], quiet)


def _reading_setting(module: Any, method: str, reading: str) -> dict[str, str]:
    if not reading:
        return {}
    if not any(field.name == "reading" for field in fields(module.Config)):
        raise InvalidValue(
            f"{method} has only one reading; remove --reading.\n"
            "singeo and congeo have two: release and intent."
        )
    return {"reading": reading}


def _weights_setting(module: Any, weights: Path | None, pretrained: bool) -> dict[str, str]:
    from crossview.training.run_folder import RunFolder
    from crossview.training.session import name_no_weights

    if weights is None and pretrained:
        return {}
    if weights is None:
        return name_no_weights(module.Config())
    if not any(field.name == "weights" for field in fields(module.Config)):
        raise InvalidValue("This method has no setting named weights; remove --weights.")
    run = RunFolder(weights)
    return {"weights": str((run.weights if run.weights.is_file() else weights).resolve())}


def _train(request: Any, tensorboard: bool, quiet: bool) -> None:
    from crossview.training.run_folder import RunFolder

    with ExitStack() as held:
        with request.ranks.sharing_errors():
            if request.ranks.is_first:
                held.enter_context(RunFolder(request.out).lock("crossview train"))
            session, state = _begin(request, quiet)
        _fit(session, state, tensorboard, quiet)


def _begin(request: Any, quiet: bool) -> tuple[Session, TrainState]:
    from crossview.training.run_folder import RunFolder
    from crossview.training.session import start_state

    folder = RunFolder(request.out)
    with folder.discard_refused() if request.ranks.is_first else nullcontext():
        session = _prepare(request, quiet)
        state = start_state(session)
        if request.page.file is not None:
            _check_contract(session, state, request.method, quiet)
    return session, state


def _fit(session: Session, state: TrainState, tensorboard: bool, quiet: bool) -> None:
    from crossview.training.session import Stopped, fit
    from crossview.training.train_state import read_saved_step

    _announce(session, state, quiet)
    steps = session.job.recipe.total_steps(len(session.job.table))
    board = _open_board(session, tensorboard and session.job.ranks.is_first)
    try:
        pairs = _pairs_per_step(session)
        done = read_saved_step(session.folder.state) * pairs
        with console.show_progress(
            "train", total=steps * pairs, unit="pairs", done=done, quiet=quiet
        ) as bar:
            for report in fit(session, state):
                _show_report(report, bar, board, quiet)
    except Stopped as stopped:
        if session.job.ranks.is_first:
            console.note(
                f"Stopped after step {stopped.step} of {steps}; saved in {session.folder.path}.\n"
                "Run the same command again to continue."
            )
        raise SystemExit(128 + stopped.signal) from None


def _evaluate(request: Any, tests: list[str], quiet: bool) -> None:
    """Measure the finished run on other data, as ``crossview evaluate`` does."""
    from crossview import catalogue
    from crossview.assessment import AssessmentOptions
    from crossview.cli.evaluate import EvaluateCommand, command_line, evaluate_model, folder_name

    for data in map(catalogue.data_name, tests):
        options = AssessmentOptions(
            data=data,
            method=request.page.file,
            cache=request.cache,
            workers=request.workers,
            device=request.device,
            command=command_line(),
        )
        out = request.out / "evaluations" / folder_name(data)
        evaluate_model(
            EvaluateCommand(options=options, out=out, quiet=quiet),
            str(request.out),
        )


def _prepare(request: Any, quiet: bool) -> Session:
    from crossview.training.session import prepare

    with console.show_progress("read pictures", unit="pictures", quiet=quiet) as bar:
        return prepare(request, bar.update)


def _check_contract(session: Session, state: TrainState, name: str, quiet: bool) -> None:
    from copy import deepcopy

    from crossview.training.contract import check_everything

    job = session.job
    model = deepcopy(state.model)  # a trial step moves the statistics of batch norms
    passed = check_everything(job.method, model, job.config, job.table, name)
    console.note(f"{name} keeps the contract: {', '.join(passed)}.", quiet=quiet)


def _pairs_per_step(session: Session) -> int:
    return session.job.recipe.batch * session.job.recipe.accumulate


def _announce(session: Session, state: TrainState, quiet: bool) -> None:
    from crossview.training.device import is_fast_in_bfloat16

    job = session.job
    steps = job.recipe.total_steps(len(job.table))
    for picture in session.skipped:
        console.note(f"Left out: {picture.path}: {picture.reason}", quiet=quiet)
    if session.skipped and session.job.ranks.is_first:
        console.warn(f"{len(session.skipped)} pictures cannot be read; their pairs are left out.")
    millions = sum(p.numel() for p in state.model.parameters()) / 1e6
    half = job.recipe.amp and is_fast_in_bfloat16(job.device)
    validation = len(session.validation) if session.validation is not None else 0
    console.note(
        f"{len(job.table)} pairs to train on, {validation} to report on; {millions:.2f} million "
        f"parameters; {steps} steps of {_pairs_per_step(session)} pairs on {job.device}"
        f"{f', cut over {job.ranks.count} ranks,' if job.ranks.count > 1 else ''}"
        f"{' in bfloat16' if half else ''}.",
        quiet=quiet,
    )
    if session.folder.state.is_file():
        console.note(f"Continuing the training in {session.folder.path}.", quiet=quiet)
        if session.job.ranks.is_first and not session.folder.keeps_facts():
            console.warn(
                f"{session.folder.path} was started by a version that kept no facts of the pairs: "
                "whether places, headings and kinds are still the same cannot be checked."
            )


def _show_report(report: StepReport | Recall, bar: Any, board: Any, quiet: bool) -> None:
    from crossview.training.loop import StepReport

    if isinstance(report, StepReport):
        bar.update(report.step * report.pairs)
        bar.describe(f"epoch {report.epoch + 1}, loss {report.losses['loss']:.3f}")
        values = {**report.losses, "lr": report.lr}
    else:
        values = {f"recall_at_1/{report.fov_deg:g}": report.at_1}
        console.note(
            f"step {report.step}, validation, {report.fov_deg:g} degrees, heading as trained: "
            f"R@1 {report.at_1:.1f} %, R@5 {report.at_5:.1f} %, R@10 {report.at_10:.1f} % "
            f"({report.queries} queries, {report.references} references)",
            quiet=quiet,
        )
    for name, value in values.items():
        if board is not None:
            board.add_scalar(name, value, report.step)


def _open_board(session: Session, tensorboard: bool) -> Any:
    if not tensorboard:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(session.folder.path / "tensorboard"))


def _dry_run(request: Any, quiet: bool) -> None:
    """Build everything in a temporary folder, train three steps, print memory and hours."""
    from crossview.pairs.loading import Loader
    from crossview.training.cost import measure_footprint
    from crossview.training.loop import train_steps
    from crossview.training.session import prepare, start_state

    with tempfile.TemporaryDirectory() as folder:
        session = prepare(replace(request, out=Path(folder), cache=None))
        state = start_state(session)
        _announce(session, state, quiet)
        needs = measure_footprint(state.model, session.job)
        if needs.chunk and needs.chunk < needs.batch and not session.job.recipe.chunk:
            recipe = replace(session.job.recipe, chunk=needs.chunk)
            session = replace(session, job=replace(session.job, recipe=recipe))
        count = 3 if needs.step_s < LONG_STEP_S else 1
        with Loader(session.reader, request.workers) as loader:
            steps = train_steps(state, session.job, loader)
            reports = [report for report, _ in zip(steps, range(count), strict=False)]
    _print_needs(needs, reports[-1], session)


def _print_needs(needs: TrainingFootprint, last: StepReport, session: Session) -> None:
    from crossview.training.device import peak_memory_mb

    hours = last.steps * last.seconds / 3600
    whole = f"{60 * hours:.0f} minutes" if hours < 3 else f"{hours:.1f} hours"
    console.print_result(
        f"loss {last.losses['loss']:.3f}; {last.pairs / last.seconds:.1f} pairs/s "
        f"({100 * last.waited_s / last.seconds:.0f} % waiting for data); "
        f"peak memory {peak_memory_mb(session.job.device):.0f} MB; "
        f"the whole training about {whole}."
    )
    console.print_result(
        f"a batch of {needs.batch} needs about {needs.batch_mb:.0f} MB beside the weights "
        f"({needs.pair_mb:.0f} MB a pair), {needs.free_mb:.0f} MB are free: {_advice(needs)}"
    )


def _advice(needs: TrainingFootprint) -> str:
    if needs.chunk >= needs.batch:
        return "it fits."
    if not needs.chunk:
        return "not even one pair fits; use a smaller network or smaller pictures."
    return f"use --config chunk={needs.chunk} (tried here), for the same gradients."
