"""Ranks as processes of their own, forked from one that has imported torch.

Each is told its number as torchrun tells it, and finds the others over the loopback interface.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.preloaded_workers import PreloadedContext

ENDED_S = 300.0  # after which a rank counts as hanging


@dataclass(frozen=True)
class Ended:
    """What became of a rank."""

    exit_code: int
    value: Any  # that its work gave; None if it gave none
    said: str  # on stderr and stdout


def run_ranks(work: Callable[..., Any], folder: Path, *args: Any, count: int = 2) -> list[Ended]:
    """``work(*args)`` in ``count`` ranks; ``folder`` takes what they write."""
    start = (
        PreloadedContext()
        if "forkserver" in multiprocessing.get_all_start_methods()
        else multiprocessing.get_context("spawn")
    )
    folder.mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    processes = [
        start.Process(target=_be, args=(rank, count, port, folder, work, args))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(ENDED_S)
    hanging = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in hanging:
        processes[rank].kill()
    said = [(folder / f"said{rank}.txt").read_text() for rank in range(count)]
    assert not hanging, f"ranks {hanging} hang; they said: {said}"
    values = []
    for rank in range(count):
        path = folder / f"value{rank}"
        values.append(pickle.loads(path.read_bytes()) if path.is_file() else None)
    codes = [process.exitcode for process in processes]
    return [Ended(*ended) for ended in zip(codes, values, said, strict=True)]


def find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _be(rank: int, count: int, port: int, folder: Path, work: Any, args: Any) -> None:
    with (folder / f"said{rank}.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        (folder / f"value{rank}").unlink(missing_ok=True)
        code = 0
        try:
            (folder / f"value{rank}").write_bytes(pickle.dumps(work(*args)))
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # as a rank that ends: no exit handlers of the process that was forked
