"""A run folder as an Embedder, so that a training is evaluated without being exported first."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from crossview.arrays import F32, U8
from crossview.errors import BadModel, InvalidValue
from crossview.model import ModelInfo
from crossview.pairs.batch import Views
from crossview.pairs.loading import normalise
from crossview.training.export import run_info
from crossview.training.run_folder import RunFolder
from crossview.training.session import build_without_weights
from crossview.training.train_state import load_weights


class RunEmbedder:
    """The weights to use of a run (averaged where the recipe averages), in eval mode."""

    def __init__(
        self, run: RunFolder, page: Any, config: Any, views: Views, device: torch.device
    ) -> None:
        if not run.weights.is_file():
            raise BadModel(f"{run.path} holds no weights yet; let its training reach a save.")
        self._device = device
        model = build_without_weights(page, config)
        load_weights(model, run.weights)
        self._model = model.to(device).eval()
        self._views = views
        self.info: ModelInfo = run_info(run, views, self._dim())
        digest = hashlib.sha256(json.dumps(run.config(), sort_keys=True).encode())
        digest.update(run.weights.read_bytes())
        self.fingerprint = digest.hexdigest()

    def ground(self, images: U8) -> F32:
        """See :class:`crossview.model.Embedder`."""
        return self._run("ground", images)

    def aerial(self, images: U8) -> F32:
        """See :class:`crossview.model.Embedder`."""
        return self._run("aerial", images)

    def _run(self, side: str, images: U8) -> F32:
        pixels = normalise(images, getattr(self._views, side), self._device)
        try:
            with torch.inference_mode():
                vectors: F32 = getattr(self._model, side)(pixels).float().cpu().numpy()
        except RuntimeError as problem:
            width, usual = images.shape[2], getattr(self._views, side).width_px
            if width >= usual:
                raise
            raise InvalidValue(
                f"The network cannot take a {side} picture of {width} of {usual} columns.\n"
                "Ask for a wider field of view."
            ) from problem
        return vectors

    def _dim(self) -> int:
        spec = self._views.aerial
        blank = np.zeros((2, spec.height_px, spec.width_px, 3), np.uint8)
        return int(self._run("aerial", blank).shape[1])
