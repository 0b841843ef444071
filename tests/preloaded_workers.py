"""Workers that begin with everything imported: a test pays for torch once, not once a worker.

The package starts its workers as new interpreters (spawn). Here they are forks of one process that
has imported what workers need and has done nothing else. They get their work by pickle all the
same, so what a worker lacks is found here, too; that a new interpreter is enough is for
``tests/pairs/test_loading.py`` and ``tests/worlds``, which have workers as everybody has them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import pytest

PRELOADED = [
    "cv2", "rasterio", "torch", "crossview.methods.compass", "crossview.pairs.loading",
    "crossview.worlds.ortho_pairs", "crossview.worlds.town_pairs",
]  # fmt: skip
SERVER = forkserver.ForkServer()  # not that of views/decoders.py, whose memory is limited
SERVER.set_forkserver_preload(PRELOADED)


class Popen(popen_forkserver.Popen):
    """A process that is forked by :data:`SERVER`."""

    def _launch(self, process: Any) -> None:
        before = forkserver.connect_to_new_process
        forkserver.connect_to_new_process = SERVER.connect_to_new_process
        try:
            super()._launch(process)
        finally:
            forkserver.connect_to_new_process = before


class PreloadedProcess(ForkServerProcess):
    """A process of :class:`PreloadedContext`."""

    @staticmethod
    def _Popen(process: Any) -> Popen:  # noqa: N802 - as multiprocessing calls it
        return Popen(process)


class PreloadedContext(ForkServerContext):
    """What ``multiprocessing.get_context`` gives in such a test."""

    Process = PreloadedProcess


@contextmanager
def preloaded() -> Iterator[None]:
    """Give preloaded workers to whoever wants spawned ones."""
    find = multiprocessing.get_context
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            multiprocessing,
            "get_context",
            lambda method=None: PreloadedContext() if method == "spawn" else find(method),
        )
        yield
