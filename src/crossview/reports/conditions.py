"""What two results must share to be compared, and the words for where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from crossview.evaluation.evaluation_record import Evaluation

ONE_MODEL = "one model for all"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a figure was measured. Empty text: not known."""

    headings: str  # "aligned", "unknown", "within 20 degrees", "as given"
    fov_deg: float | None  # horizontal; None: drawn per query, or not said
    rule: str = ""  # who counts as right; empty: the benchmark has one rule only
    trained_on: str = ""  # a data set's name, as `family` writes it
    models: str = ONE_MODEL
    off_protocol: tuple[str, ...] = ()
    corruption: str = ""

    @property
    def words(self) -> str:
        """The view in words: "360°, heading unknown"."""
        return ", ".join(filter(None, [_fov(self.fov_deg), _headings(self), self.corruption]))


def conditions_of(evaluation: Evaluation) -> Conditions:
    """The conditions of a record."""
    protocol = evaluation.protocol
    return Conditions(
        headings=protocol.headings,
        fov_deg=protocol.fov_deg,
        rule=protocol.relation,
        trained_on=family(str(evaluation.model.get("training_data", ""))),
        off_protocol=protocol.off_protocol,
        corruption=protocol.corruption,
    )


def data_name(data: str) -> str:
    """NAME of ``NAME:ROOT``; of a bare path its last part."""
    name, colon, _ = data.partition(":")
    return name if colon and len(name) > 1 else PurePath(data).name


def family(data: str) -> str:
    """The name under which training data is compared: label corrections do not count.

    The directions of University-1652 train on the same pictures.
    """
    name = data_name(data).lower() if data and " " not in data else data
    if name.startswith("university-1652"):
        return "university-1652"
    return name.removesuffix("-corrected").removesuffix("-cleaned")


def differences(theirs: Conditions, ours: Conditions) -> tuple[str, ...]:
    """What keeps ``theirs`` from being compared with ``ours``, each in a few words.

    Anything that is not known on either side counts as a difference, and is said to be unknown.
    """
    found = [
        _told("trained on", theirs.trained_on, ours.trained_on),
        _headings(theirs) if theirs.headings != ours.headings else "",
        _fov(theirs.fov_deg) if theirs.fov_deg != ours.fov_deg else "",
        f"rule: {theirs.rule}" if theirs.rule and not same_rule(theirs.rule, ours.rule) else "",
        f"models: {theirs.models}" if theirs.models != ours.models else "",
        theirs.corruption or "clean pictures" if theirs.corruption != ours.corruption else "",
        *theirs.off_protocol,
    ]
    return tuple(filter(None, found))


def same_rule(theirs: str, ours: str) -> bool:
    """Whether two rules in words are one; the shorter may be the beginning of the other."""
    a, b = theirs.lower(), ours.lower()
    return a.startswith(b) or b.startswith(a) if a and b else a == b


def _told(what: str, theirs: str, ours: str) -> str:
    if theirs and theirs == ours:
        return ""
    if not ours:
        return f"{what} {theirs}; what this run was trained on is not recorded"
    return f"{what} {theirs}" if theirs else f"{what}: not recorded"


def _headings(conditions: Conditions) -> str:
    known = {"aligned": "north-aligned", "as given": "headings as given"}
    return known.get(conditions.headings, f"heading {conditions.headings}")


def _fov(fov_deg: float | None) -> str:
    return "field of view not fixed" if fov_deg is None else f"{fov_deg:g}°"
