"""One training on several devices: each process ("rank") trains a share of every batch.

A launcher such as torchrun starts the processes and tells each its number. The batch stays that of
one device: rank r of n reads and encodes the r-th of n equal parts, and the vectors of all parts
are gathered before they are contrasted, so that every rank computes the loss of the whole batch,
its negatives included. Gradients go back through the gathering. A gathering that does not pass
them gives the same loss and too small a gradient, and an optimiser such as AdamW, which divides by
the gradient's size, hides it.

Every rank computes the same loss L of the vectors of all. Summed over the n ranks, the gradients
that reach the vectors of one rank are n times those of L; the mean over ranks of the weights'
gradients is therefore the gradient of L, also of weights that L uses directly (a learned scale).

Gradients are averaged once a step, by weights in the order of the network, not by hooks as soon as
they are there (``DistributedDataParallel``): batches that are accumulated, encoded in chunks or
gone through twice need a mean at their end alone, and the order of sums, which decides the last
bits, is the same in a training that was resumed. The price is that nothing is sent while gradients
are still being computed.

Processes tell each other numbers and JSON, never pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crossview.errors import CrossviewError, InvalidValue, TrainingFailed, require
from crossview.networks.losses import at_least_float32

STEP_LIMIT_S = 1800.0  # that ranks wait for each other while they train
BEGIN_LIMIT_S = 12 * 3600.0  # and before, where a cache may have to be filled
BUCKET = 25_000_000  # numbers that are averaged at a time
SHORT = 248  # bytes that are told at once; what is longer takes a second round
_TOLD = "told_to_other_ranks"
_NAMED = 6  # differences that an error names

T = TypeVar("T")
Array = TypeVar("Array", bound=np.ndarray)


class OtherRankFailed(TrainingFailed):
    """What another rank ended with; said by all ranks."""


@dataclass(frozen=True, kw_only=True)
class TrainingRanks:
    """One process among those of a training; a method that talks is called by all of them.

    A rank that ended, or that does not answer in time, is a TrainingFailed for all others.
    """

    rank: int = 0
    count: int = 1
    local: int = 0  # number of this process on its machine
    patient: Any = field(default=None, compare=False)  # group of processes with another limit

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder and says what is going on."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which part of how many equal ones is taken of every batch."""
        return self.rank, self.count

    def seed(self, seed: int) -> int:
        """A seed of this rank's own; of a training on one device, ``seed`` itself."""
        return seed * self.count + self.rank

    def while_training(self) -> TrainingRanks:
        """The same ranks, which wait for each other no longer than a step may take."""
        return replace(self, patient=None)

    def name_device(self, device: str) -> str:
        """The device of this rank, of one that was asked for: ranks share no GPU.

        InvalidValue for a device of which a machine has one only, such as cuda:1.
        """
        if self.count == 1:
            return device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        require(
            device in {"cpu", "cuda"},
            f"--device {device} cannot serve {self.count} ranks, each of which needs its own.\n"
            "Allowed: auto, cpu, cuda (rank n of a machine takes its n-th GPU).",
        )
        if device == "cpu":
            return device
        found = torch.cuda.device_count()
        require(
            self.local < found,
            f"rank {self.rank} is number {self.local + 1} on its machine, which has {found} GPUs.\n"
            f"Give torchrun --nproc-per-node {found}, or --device cpu.",
        )
        return f"cuda:{self.local}"

    def cut(self, number: int) -> slice:
        """The own, contiguous share of ``number`` things; shares differ by one at most."""
        return slice(
            number * self.rank // self.count,
            number * (self.rank + 1) // self.count,
        )

    def gather(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """[n B, ...] of [B, ...], by name: of all ranks, in their order, with their gradients."""
        if self.count == 1:
            return dict(vectors)
        return {name: _gather(value, self.rank, self.count) for name, value in vectors.items()}

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means over ranks; None where no rank has one."""
        if self.count == 1:
            return
        for bucket in _buckets([p for p in parameters if p.requires_grad]):
            _average(bucket, self.count)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give all ranks what the first one has, in place."""
        if self.count == 1:
            return
        with _told_in_words():
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, src=0)
                tensor.detach().copy_(whole)

    def join(self, own: Array) -> Array:
        """The arrays [m, ...] of all ranks, one after the other; m may differ."""
        if self.count == 1:
            return own
        lengths = self.exchange(len(own))
        padded = np.zeros((max(lengths), *own.shape[1:]), own.dtype)
        padded[: len(own)] = own
        with _told_in_words():
            parts = [torch.from_numpy(np.empty_like(padded)) for _ in lengths]
            dist.all_gather(parts, torch.from_numpy(padded))
        pairs = zip(parts, lengths, strict=True)
        joined: Array = np.concatenate([part.numpy()[:length] for part, length in pairs])  # type: ignore[assignment]
        return joined

    def exchange(self, value: Any) -> list[Any]:
        """What all ranks say (JSON), in their order.

        Where one of them says that it failed, all others raise OtherRankFailed instead.
        """
        if self.count == 1:
            return [value]
        return _understood(self._tell({"value": value}), self.rank)

    def first(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on the first rank (JSON), on all of them."""
        value: T = self.exchange(work() if self.is_first else None)[0]
        return value

    @contextmanager
    def sharing_errors(self) -> Iterator[None]:
        """An error of one rank inside of the block ends it on all of them, and all say it.

        Ranks that are done wait at its end. Inside, ranks may talk by :meth:`exchange` and what is
        made of it: the error arrives in place of what would have been said.
        """
        if self.count == 1:
            yield
            return
        try:
            yield
        except OtherRankFailed:
            raise
        except CrossviewError as problem:
            if not getattr(problem, _TOLD, False):  # by a block within this one
                setattr(problem, _TOLD, True)
                self._tell({"error": str(problem)})
            raise
        self.exchange(None)

    def require_same(self, what: Mapping[str, Any], task: str) -> None:
        """InvalidValue on all ranks, with the values, unless all say the same of everything."""
        for rank, said in enumerate(told := self.exchange(dict(what))):
            names = [name for name in told[0] if said.get(name) != told[0][name]]
            names += [name for name in said if name not in told[0]]
            if names:
                values = "; ".join(
                    f"{name}: {told[0].get(name)!r} on rank 0, {said.get(name)!r} on rank {rank}"
                    for name in names[:_NAMED]
                )
                raise InvalidValue(
                    f"The ranks disagree about {task}: {values}.\n"
                    "Start all of them with the same command, on the same data and versions."
                )

    def require_same_weights(self, model: nn.Module) -> None:
        """TrainingFailed if the networks of the ranks are no longer the same."""
        if self.count == 1:
            return
        prints = self.exchange(fingerprint_tensors(model.state_dict().values()))
        if len(set(prints)) > 1:
            raise TrainingFailed(
                "The networks of the ranks have grown apart: some rank computes otherwise "
                f"({', '.join(text[:8] for text in prints)}).\n"
                "Take equal devices and versions; the last saved state is untouched."
            )

    def _tell(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        said = json.dumps(message).encode()
        with _told_in_words():
            heard = self._gather_bytes(len(said).to_bytes(8, "big") + said[:SHORT], 8 + SHORT)
            sizes = [int.from_bytes(text[:8], "big") for text in heard]
            if max(sizes) > SHORT:
                heard = self._gather_bytes(bytes(8) + said, 8 + max(sizes))
        return [json.loads(text[8 : 8 + size]) for text, size in zip(heard, sizes, strict=True)]

    def _gather_bytes(self, said: bytes, size: int) -> list[bytes]:
        own = torch.frombuffer(bytearray(said.ljust(size, b"\0")), dtype=torch.uint8)
        heard = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(heard, own, group=self.patient)
        return [text.numpy().tobytes() for text in heard]


ALONE = TrainingRanks()  # one process on one device, which talks to nobody


@contextmanager
def open_ranks(
    device: str, step_limit_s: float = STEP_LIMIT_S, begin_limit_s: float = BEGIN_LIMIT_S
) -> Iterator[TrainingRanks]:
    """The ranks that a launcher has started, of which this process is one; alone without one.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are read as torchrun sets them. CPUs
    talk by gloo, GPUs by NCCL. Ranks wait ``begin_limit_s`` for each other before the training and
    ``step_limit_s`` in it. InvalidValue for variables that say no such thing.
    """
    count = _read_number("WORLD_SIZE", 1)
    if count <= 1:
        yield ALONE
        return
    alone = TrainingRanks(
        rank=_read_number("RANK"), count=count, local=_read_number("LOCAL_RANK", 0)
    )
    require(
        0 <= alone.rank < count, f"RANK is {alone.rank}; it must be 0 to {count - 1} (WORLD_SIZE)."
    )
    name = alone.name_device(device)
    if name.startswith("cuda"):
        torch.cuda.set_device(name)
    backend = "cpu:gloo,cuda:nccl" if name.startswith("cuda") else "gloo"
    try:
        limit = timedelta(seconds=step_limit_s)
        found, _, _ = next(iter(dist.rendezvous("env://", timeout=limit)))  # type: ignore[attr-defined]
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # old addresses are left over
        store = dist.PrefixStore(f"crossview/{attempt}", found)  # type: ignore[attr-defined]
        dist.init_process_group(
            backend, store=store, rank=alone.rank, world_size=count, timeout=limit
        )
        patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=begin_limit_s))
    except ValueError as problem:
        raise InvalidValue(
            f"WORLD_SIZE is {count}, but the ranks do not find each other: {problem}\n"
            "Start them with torchrun -m crossview train ..., or unset WORLD_SIZE."
        ) from problem
    except RuntimeError as problem:
        raise TrainingFailed(
            f"The {count} ranks did not find each other: {_first_line(problem)}\n"
            "All of them must reach MASTER_ADDR and MASTER_PORT."
        ) from problem
    yield replace(alone, patient=patient)
    dist.destroy_process_group()  # not after an error: what is under way would be waited for


def _read_number(name: str, otherwise: int | None = None) -> int:
    text = os.environ.get(name, "" if otherwise is None else str(otherwise))
    require(
        text.isdecimal(),
        f"the environment variable {name} is {text!r}; a launcher sets a number.\n"
        "Start the ranks with torchrun, or unset WORLD_SIZE to train on one device.",
    )
    return int(text)


def fingerprint_tensors(tensors: Iterable[Tensor]) -> str:
    """Hex that is the same for the same values; of sums, so that it costs next to nothing."""
    sums = [tensor.detach().double().sum().cpu() for tensor in tensors]
    return sha256(torch.stack(sums).numpy().tobytes() if sums else b"").hexdigest()


def synchronise_batch_norms(
    model: nn.Module, ranks: TrainingRanks, device: torch.device
) -> nn.Module:
    """Batch norms that see the batches of all ranks; names and weights stay.

    Those that training leaves in their evaluation mode are left alone. InvalidValue on CPUs, where
    PyTorch has none: each rank would normalise by its own part of the batch.
    """
    if ranks.count == 1:
        return model
    from timm.layers import convert_sync_batchnorm

    model.train()
    names = [
        name
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.training and not isinstance(part, nn.SyncBatchNorm)
    ]
    if names and device.type != "cuda":
        raise InvalidValue(
            f"This network has {len(names)} batch norms ({names[0]} is the first), which would see "
            f"a rank's part of the batch alone; on {device.type} they cannot be synchronised.\n"
            "Train it on GPUs, on one device, or a network without batch norm (ConvNeXt has none)."
        )
    for name in names:
        parent, _, child = name.rpartition(".")  # timm's keep their activation
        setattr(
            model.get_submodule(parent), child, convert_sync_batchnorm(model.get_submodule(name))
        )
    return model


class _Gather(torch.autograd.Function):
    """All ranks' tensors, whose gradients are sums over what all ranks made of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rank: int, count: int) -> Tensor:
        ctx.own = slice(rank * len(value), (rank + 1) * len(value))
        return _gather_values(value, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = at_least_float32(gradients[0]).contiguous().clone()
        with _told_in_words():
            dist.all_reduce(gradient)
        return gradient[ctx.own].to(gradients[0].dtype), None, None


def _gather(value: Tensor, rank: int, count: int) -> Tensor:
    if not (value.requires_grad and torch.is_grad_enabled()):
        return _gather_values(value.detach(), count)
    gathered: Tensor = _Gather.apply(value, rank, count)
    return gathered


def _gather_values(value: Tensor, count: int) -> Tensor:
    value = value.contiguous()
    parts = [torch.empty_like(value) for _ in range(count)]
    with _told_in_words():
        dist.all_gather(parts, value)
    return torch.cat(parts)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in order, cut where the type changes or a bucket is full."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _average(bucket: Sequence[nn.Parameter], count: int) -> None:
    """One sum over ranks: of the gradients, and of how many ranks have each of them."""
    has = torch.tensor([float(p.grad is not None) for p in bucket])
    parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in bucket]
    flat = torch.cat([*parts, has.to(parts[0])])
    with _told_in_words():
        dist.all_reduce(flat)
    *sums, had = torch.split(flat.div_(count), [*(p.numel() for p in bucket), len(bucket)])
    for parameter, total, somewhere in zip(bucket, sums, had.tolist(), strict=True):
        if somewhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(total.view_as(parameter))


def _understood(messages: Sequence[Mapping[str, Any]], own: int) -> list[Any]:
    failed = [
        f"Rank {rank}: {message['error']}"
        for rank, message in enumerate(messages)
        if "error" in message and rank != own
    ]
    if failed:
        raise OtherRankFailed("\n".join(failed))
    return [message["value"] for message in messages]


@contextmanager
def _told_in_words() -> Iterator[None]:
    """What the libraries say of a rank that is gone or silent, as TrainingFailed."""
    try:
        yield
    except RuntimeError as problem:
        raise TrainingFailed(
            f"Another rank has ended or does not answer: {_first_line(problem)}\n"
            "What it ended with is said by itself. The last saved state is untouched: start all "
            "ranks again with the same command."
        ) from problem


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0].strip()
