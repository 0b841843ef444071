"""What can go wrong, as one small tree.

CrossviewError                 a failure the user can act on                    exit code 1
├── UsageError                 the command or call itself is wrong              exit code 2
│   ├── InvalidValue           a value outside what is allowed
│   └── UnknownName            a method, data set, model or option nobody knows
├── BadImage                   a photo that cannot be read, or must not be
├── BadImagery                 reference imagery that cannot be used
│   ├── NotGeoreferenced       pixels without a place on Earth
│   ├── TooCoarse              fewer pixels per metre than the model can use
│   └── EmptyRegion            nothing left to index
├── BadIndex                   not an index, or a damaged one
├── BadModel                   not a model, or a damaged one
├── ModelMismatch              model and index (or pictures) that do not fit together
├── SyntheticModel             a model of the synthetic town asked about the real world
├── BadData                    a list or table of pairs that cannot be used
├── WeightsUnavailable         pretrained weights that could not be had
├── TrainingFailed             a loss that is not finite, a collapsed embedding
├── DownloadFailed             something that could not be had from a server
│   ├── ServiceDown            it does not answer, or answers that it cannot
│   ├── ServiceBusy            it wants fewer requests, for longer than is waited
│   ├── AccessRefused          no token, a wrong one, or no right
│   ├── NotOnServer            there is nothing at the address
│   └── BadAnswer              nonsense: too large, of a wrong kind, damaged
└── CannotWrite                disk full, no permission
    └── InUse                  another process is writing there

Every message says what was given, what is allowed, and what to do next, in one to three lines.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CrossviewError(Exception):
    """A failure the user can act on; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(CrossviewError):
    """The command or call itself is wrong."""

    exit_code = 2


class InvalidValue(UsageError, ValueError):
    """A value outside what is allowed."""


class UnknownName(UsageError):
    """A name that is in no table; the message suggests the nearest one that is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint}\nKnown: {', '.join(names)}.")


def match_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``name`` is, upper and lower case alike; or UnknownName."""
    names = {one.casefold(): one for one in known}
    if name.strip().casefold() not in names:
        raise UnknownName(kind, name, names.values())
    return names[name.strip().casefold()]


class BadImage(CrossviewError):
    """A photo that cannot be read, or must not be."""


class BadImagery(CrossviewError):
    """Reference imagery that cannot be used."""


class NotGeoreferenced(BadImagery):
    """Pixels without a place on Earth."""


class TooCoarse(BadImagery):
    """Fewer pixels per metre than the model can use."""


class EmptyRegion(BadImagery):
    """Nothing left to index."""


class BadIndex(CrossviewError):
    """Not an index, or a damaged one."""


class BadModel(CrossviewError):
    """Not a model, or a damaged one."""


class ModelMismatch(CrossviewError):
    """Model and index (or pictures) that do not fit together."""


class SyntheticModel(CrossviewError):
    """A model of the synthetic town asked about the real world."""


class BadData(CrossviewError):
    """A list or table of pairs that cannot be used."""


class WeightsUnavailable(CrossviewError):
    """Pretrained weights that could not be had."""


class TrainingFailed(CrossviewError):
    """A loss that is not finite, a collapsed embedding."""


class DownloadFailed(CrossviewError):
    """Something that could not be had from a server."""


class ServiceDown(DownloadFailed):
    """A server that does not answer, or answers that it cannot."""


class ServiceBusy(DownloadFailed):
    """A server that wants fewer requests, for longer than is waited."""


class AccessRefused(DownloadFailed):
    """No token, a wrong one, or no right: 401 and 403."""


class NotOnServer(DownloadFailed):
    """There is nothing at the address: 404 and 410."""


class BadAnswer(DownloadFailed):
    """Nonsense of a server: too large, of a wrong kind, damaged."""


class CannotWrite(CrossviewError):
    """Disk full, or no permission."""


class InUse(CannotWrite):
    """Another process is writing there."""


def require(condition: bool, message: str) -> None:
    """Raise :class:`InvalidValue` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InvalidValue(message)
