"""Names of models: the packaged one, or a folder that ``crossview export`` made."""

from __future__ import annotations

from pathlib import Path

from crossview.errors import BadModel, UnknownName
from crossview.model.info import INFO_NAME, SHARED_NAME
from crossview.model.onnx import OnnxEmbedder

PACKAGED = ("town",)  # trained on the embedded world only: nothing real is packaged yet


def resolve_model(name_or_folder: str | Path) -> Path:
    """The folder of a packaged model's name, of a model folder, or of an ``.onnx`` file in one."""
    if str(name_or_folder) in PACKAGED:
        return Path(__file__).resolve().parent.parent / "packaged_models" / str(name_or_folder)
    path = Path(name_or_folder)
    folder = path.parent if path.suffix == ".onnx" else path
    if (folder / INFO_NAME).is_file():
        return folder
    if not path.exists() and path.parent == Path():
        raise UnknownName("model", str(name_or_folder), PACKAGED)
    raise BadModel(
        f"{path} is not a model: expected a folder with {INFO_NAME} and {SHARED_NAME}.\n"
        "Make one with: crossview export RUN --out FOLDER"
    )


def open_model(
    name_or_folder: str | Path, *, threads: int = 0, spinning: bool = True
) -> OnnxEmbedder:
    """Open a model for embedding; ``threads`` 0 means all cores.

    ``spinning``: its threads burn their cores while they wait for work, which is a little faster
    where nothing else wants them.
    """
    return OnnxEmbedder(resolve_model(name_or_folder), threads=threads, spinning=spinning)


def open_model_of(
    made_by: str, index: Path, *, threads: int = 0, spinning: bool = True
) -> OnnxEmbedder:
    """Open the model that made an index, by the name or folder that the index remembers.

    Raises :class:`BadModel`, which says what to do, where it is not there or damaged. Whether it is
    still the one that made the index is checked by ``Index.require_model``.
    """
    try:
        return open_model(made_by, threads=threads, spinning=spinning)
    except (BadModel, UnknownName) as problem:
        raise BadModel(
            f"{index} was made by the model {made_by}, which is not there or "
            f"damaged:\n{str(problem).splitlines()[0]}\nGive the same model with --model."
        ) from problem
