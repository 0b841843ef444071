"""Where the rows of a study on towns begin: tensors that one earlier training left.

The papers begin from ImageNet's weights. From random ones a small network stays for hundreds of
steps where all vectors are equal, the longer the stronger its augmentation, and a study would
compare how soon its rows get away from there. So one plain training is made first, and every row
takes its trunks, not its heads. Layout masks, which rest there for longer still, can begin from the
trunk of a whole encoder.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from crossview.errors import BadModel
from crossview.networks.backbones import uncut
from crossview.studies.definitions import Row, Start, Study

SEED = 0  # that of no row


def start_row(study: Study, start: Start, row: Row) -> Row:
    """The training that ``row`` begins from, as a row: the start with the row's kind of network."""
    settings = {**study.towns, **(row.small or row.settings)}
    followed = {name: settings[name] for name in start.follows if name in settings}
    label = "-".join(str(value) for value in followed.values())
    return Row(
        name=f"{start.name}-{label}",
        says=start.name,
        settings={**start.settings, **followed},
        method=start.method,
    )


def take(model: nn.Module, weights: Path, parts: tuple[str, ...]) -> None:
    """Fill the tensors of ``model`` whose names contain one of ``parts`` (all for ()).

    ``weights`` are a run's; trunks are filled from a whole encoder, too, if it had one for both
    views. Raises BadModel unless there are some tensors and each is there and fits.
    """
    own, found = model.state_dict(), load_file(weights)
    wanted = [name for name in own if not parts or any(part in name for part in parts)]
    sources = {name: _source(name, found) for name in wanted}
    unfit = [n for n, f in sources.items() if f not in found or found[f].shape != own[n].shape]
    if unfit or not sources:
        raise BadModel(
            f"{weights} is no beginning for this network: of its {len(sources)} tensors "
            f"(names with {' or '.join(parts) or 'anything'}) {len(unfit)} do not fit, such as "
            f"{(*unfit, 'none')[0]!r}."
        )
    model.load_state_dict({name: found[f] for name, f in sources.items()}, strict=False)


def _source(name: str, found: Container[str]) -> str:
    """Where a run has the tensor: under its own name, or in the encoder a trunk is cut from."""
    _, trunk, rest = name.partition(".trunk.")
    return name if name in found or not trunk else f"model.{uncut(rest)}"
