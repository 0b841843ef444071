"""Embedder: pictures in, unit vectors out. The ONNX one runs without torch.

A model is named by the packaged one's name, or by a folder that ``crossview export`` made.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from crossview.arrays import F32, U8
from crossview.errors import BadModel, InvalidValue, UnknownName
from crossview.files import identity, printable
from crossview.model.info import (
    INFO_NAME,
    SHARED_NAME,
    ModelInfo,
    compute_fingerprint,
    find_networks,
    read_info,
)

PACKAGED_FOLDER = Path(str(files("crossview") / "packaged_models"))
OF_TOWNS = "town"  # knows the embedded world only
OF_EARTH = "earth"  # for imagery of Earth; a build may leave it out


class Embedder(Protocol):
    """What index and locate need of a network."""

    @property
    def info(self) -> ModelInfo:
        """Facts about the network."""

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever the network or its facts do."""

    def ground(self, images: U8) -> F32:
        """Unit vectors [B, D] of ground views [B, H, W, 3] that follow ``info.ground``."""

    def aerial(self, images: U8) -> F32:
        """Unit vectors [B, D] of aerial views [B, H, W, 3] that follow ``info.aerial``."""


class Model:
    """A model folder (``model.json`` and ONNX files) run by onnxruntime on the CPU; an Embedder.

    The networks take RGB uint8 [B, H, W, 3] named ``images`` and give float32 [B, D] named
    ``embeddings``: normalisation is part of the network, so it cannot be forgotten or doubled.
    """

    def __init__(
        self, folder: Path, *, threads: int = 0, spinning: bool = True, name: str = ""
    ) -> None:
        self.folder = folder
        self.name = name or str(folder.resolve())  # by which an index finds the model again
        before = identity(folder)
        self._open(threads, spinning)
        if identity(folder) != before:  # exported again meanwhile: not files of both
            self._open(threads, spinning)

    @staticmethod
    def open(name_or_folder: str | Path, *, threads: int = 0) -> Model:
        """Open a packaged model by its name, or a folder that ``crossview export`` made.

        ``threads``: of the CPU; 0 means all cores.
        """
        return open_model(name_or_folder, threads=threads)

    def __repr__(self) -> str:
        info = self.info
        trained = "a synthetic town" if info.synthetic else info.training_data
        return f"Model({info.name!r}: vectors of {info.dim} numbers, trained on {trained})"

    def _open(self, threads: int, spinning: bool) -> None:
        self.info = read_info(self.folder)
        self.fingerprint = compute_fingerprint(self.folder)
        ground, aerial = find_networks(self.folder)
        self._ground = _open_session(ground, threads, spinning)
        self._aerial = (
            self._ground if aerial == ground else _open_session(aerial, threads, spinning)
        )

    def ground(self, images: U8) -> F32:
        """See :class:`Embedder`."""
        return self._run(self._ground, images)

    def aerial(self, images: U8) -> F32:
        """See :class:`Embedder`."""
        return self._run(self._aerial, images)

    def _run(self, session: Any, images: U8) -> F32:
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] != 3:
            raise InvalidValue(
                f"an embedder takes uint8 [batch, height, width, 3], got {images.dtype} "
                f"{list(images.shape)}."
            )
        try:
            vectors: F32 = session.run(["embeddings"], {"images": images})[0]
        except Exception as problem:  # onnxruntime raises several private types
            raise BadModel(
                f"The model {self.info.name!r} cannot embed pictures of {list(images.shape[1:])}: "
                f"{_shorten(problem)}"
            ) from problem
        if vectors.shape != (len(images), self.info.dim):
            raise BadModel(
                f"The model {self.info.name!r} gave an array {list(vectors.shape)}; its "
                f"{INFO_NAME} says vectors of {self.info.dim} numbers."
            )
        if not np.isfinite(vectors).all():
            raise BadModel(f"The model {self.info.name!r} gave NaN or infinity; it is damaged.")
        return vectors


def open_model(name_or_folder: str | Path, *, threads: int = 0, spinning: bool = True) -> Model:
    """Open a model for embedding; ``threads`` 0 means all cores.

    ``spinning``: its threads burn their cores while they wait for work, which is a little faster
    where nothing else wants them.
    """
    name = str(name_or_folder) if str(name_or_folder) in list_packaged_models() else ""
    folder = resolve_model(name_or_folder)
    return Model(folder, threads=threads, spinning=spinning, name=name)


def open_index_model(
    made_by: str, index: Path, *, threads: int = 0, spinning: bool = True
) -> Model:
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


def list_packaged_models() -> tuple[str, ...]:
    """Names of the models that came with the package, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in PACKAGED_FOLDER.glob(f"*/{INFO_NAME}")))


def resolve_model(name_or_folder: str | Path) -> Path:
    """The folder of a packaged model's name, of a model folder, or of an ``.onnx`` file in one."""
    packaged = list_packaged_models()
    if str(name_or_folder) in packaged:
        return PACKAGED_FOLDER / str(name_or_folder)
    path = Path(name_or_folder)
    folder = path.parent if path.suffix == ".onnx" else path
    if (folder / INFO_NAME).is_file():
        return folder
    if not path.exists() and path.parent == Path():
        raise UnknownName("model", str(name_or_folder), packaged)
    raise BadModel(
        f"{path} is not a model: expected a folder with {INFO_NAME} and {SHARED_NAME}.\n"
        "Make one with: crossview export RUN --out FOLDER"
    )


def _open_session(path: Path, threads: int, spinning: bool) -> Any:
    import onnxruntime  # heavy: only when a network is really run

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as problem:  # onnxruntime raises several private types
        raise BadModel(f"{path} cannot be loaded as a network: {_shorten(problem)}") from problem
    takes = [(entry.name, entry.type) for entry in session.get_inputs()]
    gives = [(entry.name, entry.type) for entry in session.get_outputs()]
    if takes != [("images", "tensor(uint8)")] or ("embeddings", "tensor(float)") not in gives:
        raise BadModel(
            f"{path} is a network of another kind: it takes {takes} and gives {gives}.\n"
            "Expected: images of uint8, and embeddings of float32. Make one with: crossview export"
        )
    return session


def _shorten(problem: Exception) -> str:
    return printable((str(problem).splitlines() or [type(problem).__name__])[0][:300])
