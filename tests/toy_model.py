"""A model folder with a real ONNX network, small enough to write in a test: no torch needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.toy_embedder import toy_info

ROWS, COLUMNS = 4, 8  # blocks whose mean colours the network looks at
CAUTION = "trained on toys: a lead, not evidence; a heading helps most"


def toy_model(folder: Path, **changes) -> Path:
    """Write ``model.json`` and ``model.onnx`` of a network as simple as :class:`ToyEmbedder`.

    ``changes`` replace facts of :func:`toy_info`. Skips where the ``onnx`` package is absent.
    """
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    info = toy_info(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(info.to_json()), encoding="utf-8")
    onnx.save(_network(onnx, info), folder / "model.onnx")
    return folder


def toy_packaged_models(folder: Path) -> Path:
    """A folder with the two models that the package may have, each as :func:`toy_model`."""
    toy_model(folder / "town", name="town", synthetic=True)
    toy_model(
        folder / "earth",
        name="earth",
        azimuth_bins=8,
        training_data="orthophotos of the tests",
        licence="CC0",
        attributions=("(c) Survey of Nowhere, CC BY 4.0",),
        caution=CAUTION,
        limits="It knows nothing.",
    )
    return folder


def _network(onnx, info):
    h, w = info.aerial.height_px, info.aerial.width_px
    block = [h // ROWS, w // COLUMNS]
    matrix = np.random.default_rng(0).standard_normal((3 * ROWS * COLUMNS, info.dim))
    make, kind = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["images"], ["floats"], to=kind.FLOAT),
        make.make_node("Sub", ["floats", "grey"], ["centred"]),
        make.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        make.make_node("AveragePool", ["planes"], ["blocks"], kernel_shape=block, strides=block),
        make.make_node("Flatten", ["blocks"], ["flat"]),
        make.make_node("MatMul", ["flat", "matrix"], ["raw"]),
        make.make_node("LpNormalization", ["raw"], ["embeddings"], axis=1),
    ]
    constants = {"grey": np.float32(115.0), "matrix": matrix.astype(np.float32)}
    graph = make.make_graph(
        nodes,
        "toy",
        [make.make_tensor_value_info("images", kind.UINT8, ["batch", h, w, 3])],
        [make.make_tensor_value_info("embeddings", kind.FLOAT, ["batch", info.dim])],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
