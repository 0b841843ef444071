"""Names that a shell completes behind options: from tables of the package, without torch.

Files and folders are left to the shell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import typer


def suggest_methods() -> list[str]:
    """Of ``--method``."""
    from crossview.catalogue import METHODS

    return list(METHODS)


def suggest_recipes(ctx: typer.Context) -> list[str]:
    """Of ``--recipe``: those of the method that was typed before, else of all methods."""
    from crossview import catalogue

    method = ctx.params.get("method")
    known = [method] if method in catalogue.METHODS else list(catalogue.METHODS)
    return sorted({name for one in known for name in catalogue.recipes(one)})


def suggest_data() -> list[str]:
    """Of ``--data``: a colon and a folder may follow."""
    from crossview.catalogue import DATASETS

    return list(DATASETS)


def suggest_models() -> list[str]:
    """Of ``--model``: the packaged ones."""
    from crossview.model import list_packaged_models

    return list(list_packaged_models())


def suggest_studies() -> list[str]:
    """Of ``crossview study``."""
    from crossview.studies.study import read_studies

    return list(read_studies())


def suggest_styles() -> list[str]:
    """Of ``--style``: of towns."""
    from crossview.worlds.styles import STYLES

    return list(STYLES)


def suggest_formats() -> list[str]:
    """Of ``--format``."""
    from crossview.outputs.formats import FORMATS

    return list(FORMATS)


def suggest_devices() -> list[str]:
    """Of ``--device``."""
    return ["auto", "cpu", "cuda", "mps"]


def suggest_decodings() -> list[str]:
    """Of ``--decoding``."""
    return ["exact", "fast"]


def suggest_corruptions() -> list[str]:
    """Of ``--corrupt``."""
    from crossview.evaluation.conditions import CORRUPTIONS

    return list(CORRUPTIONS)


def suggest_verbs(ctx: typer.Context) -> list[str]:
    """Of ``crossview config``."""
    group: Any = ctx.find_root().command
    return list(group.list_commands(ctx))


def suggest_shells() -> list[str]:
    """Of ``--completion``."""
    return ["bash", "fish", "zsh"]


BY_PARAMETER: dict[str, Callable[..., list[str]]] = {  # with its verb where the name is not enough
    "completion": suggest_shells,
    "config verb": suggest_verbs,
    "corrupt": suggest_corruptions,
    "check name": suggest_data,
    "cross": suggest_data,
    "data": suggest_data,
    "data_name": suggest_data,
    "decoding": suggest_decodings,
    "dedup name": suggest_data,
    "device": suggest_devices,
    "locate output": suggest_formats,
    "method": suggest_methods,
    "model": suggest_models,
    "recipe": suggest_recipes,
    "study name": suggest_studies,
    "style": suggest_styles,
    "test": suggest_data,
    "trained_on": suggest_data,
}


def add_suggestions(verb: Any) -> None:
    """Give the parameters of a verb's function, or of all its inner ones, what completes them."""
    inner = getattr(verb, "registered_commands", None)
    for function in [command.callback for command in inner] if inner else [verb]:
        hints = get_type_hints(function, include_extras=True)
        for name, hint in hints.items():
            suggest = BY_PARAMETER.get(f"{function.__name__} {name}", BY_PARAMETER.get(name))
            for info in getattr(hint, "__metadata__", ()):
                if suggest is not None:
                    info.autocompletion = suggest
        function.__annotations__ = hints
