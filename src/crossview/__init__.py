"""crossview: where on the map was this picture taken, from imagery seen from above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from crossview._version import __version__

if TYPE_CHECKING:
    from typing import Unpack

    from crossview.index.store import Index
    from crossview.localization.answer import Answer
    from crossview.localization.hints import HintValues
    from crossview.localization.queries import Picture

__all__ = ["Index", "__version__", "locate"]


@overload
def locate(index: Index, photo: Picture, **hints: Unpack[HintValues]) -> Answer: ...


@overload
def locate(
    index: Index, photo: list[Picture] | tuple[Picture, ...], **hints: Unpack[HintValues]
) -> list[Answer]: ...


def locate(
    index: Index,
    photo: Picture | list[Picture] | tuple[Picture, ...],
    **hints: Unpack[HintValues],
) -> Answer | list[Answer]:
    """Where a photo was taken; of a list or tuple of photos a list of answers, in their order.

    A photo is a path, the bytes of a file, a Pillow image, RGB uint8 [H, W, 3] or a Photo.
    Hints as in ``localization.hints.Hints``; ``near`` may be a pair (lat, lon). The first photo
    that cannot be read raises :class:`BadImage`.
    """
    from crossview.localization.hints import Hints
    from crossview.localization.locate import locate_many, model_of

    if isinstance(photo, list | tuple):
        return locate_many(index, model_of(index), photo, Hints(**hints))
    return locate_many(index, model_of(index), [photo], Hints(**hints))[0]


def __getattr__(name: str) -> Any:
    """``crossview.Index``, loaded when first used: ``import crossview`` stays light."""
    if name != "Index":
        raise AttributeError(f"module 'crossview' has no attribute {name!r}")
    from crossview.index.store import Index

    return Index
