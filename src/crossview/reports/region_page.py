"""The report on a region, on one page: how well a model works there, in plain words, and why.

Every sentence follows from the figures by a rule of this module; ``languages`` says it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossview._version import __version__
from crossview.files import atomic_write
from crossview.reports.report_page import render_frame
from crossview.texts import phrase, speak

PAGE_NAME, NUMBERS_NAME, CREDITS_NAME = "report.html", "report.json", "ATTRIBUTION.md"
ENOUGH = 100  # test photos of one kind, from which on no more are asked for
FEW = 30
_KINDS = {"panoramas": "panoramas", "photos": "photos", "photos of unknown lens": "unknown_lens"}
Facts = Mapping[str, Mapping[str, Any]]  # what each step has given, by its name


@dataclass(frozen=True)
class ReportPart:
    """A heading, sentences, and rows of the table, if it has one."""

    key: str
    title: str
    sentences: Sequence[str]
    rows: Sequence[Sequence[str]] = ()


def write_region_report(
    out: Path, name: str, facts: Facts, model: Mapping[str, str], language: str
) -> dict[str, Any]:
    """Write ``report.html``, ``report.json`` and ``ATTRIBUTION.md`` into a region's folder.

    ``model``: its name, licence and what it was trained on. Returns what ``report.json`` says in
    words: the verdicts.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with speak(language):
        parts = list(_make_parts(name, facts, model))
        columns = [
            phrase(f"region.{column}")
            for column in ("kind", "photos", "given", "adapted", "chance")
        ]
        page = render_frame(
            "region.html", {},
            title=name,
            lede=phrase(
                "region.lede",
                area=facts["index"]["area_km2"],
                metres=facts["imagery"]["metres_per_px"],
                windows=facts["index"]["windows"],
                created=created[:10],
            ),
            parts=parts,
            columns=columns,
        )  # fmt: skip
    verdicts = {part.key: list(part.sentences) for part in parts}
    numbers = {"crossview": __version__, "created": created, "says": verdicts, "steps": facts}
    atomic_write(out / CREDITS_NAME, format_credits(facts, model))
    atomic_write(out / NUMBERS_NAME, json.dumps(numbers, indent=1) + "\n")
    atomic_write(out / PAGE_NAME, page)
    return {"says": verdicts}


def format_credits(facts: Facts, model: Mapping[str, str]) -> str:
    """Whom to name for what, as Markdown: imagery, model, and every street photo."""
    imagery, street = facts["imagery"], facts["street"]
    lines = ["# Whom to name", "", "## Imagery", ""]
    lines.append(f"{', '.join(imagery['sources'])}: {imagery['attribution'] or 'not stated'}")
    lines += ["", "## Model", "", f"{model['name']}: {model['licence'] or 'not stated'}"]
    if street.get("credits"):
        lines += ["", "## Street photos", "", street["credits"].strip()]
    return "\n".join(lines) + "\n"


def _make_parts(name: str, facts: Facts, model: Mapping[str, str]) -> Iterator[ReportPart]:
    tested = facts["test"]["kinds"]
    rows = [row for kind in tested for row in _list_rows(kind)]
    verdicts = [text for kind in tested for text in _judge(kind)]
    works = verdicts or [phrase("region.no_test")]
    yield ReportPart("works", phrase("region.works"), works, rows)
    yield ReportPart("trust", phrase("region.trust"), list(_tell_trust(facts)))
    yield ReportPart("helps", phrase("region.helps"), list(_tell_help(facts)))
    yield ReportPart("next", phrase("region.next"), list(_advise(name, facts)))
    yield ReportPart("made", phrase("region.made"), list(_tell_origin(facts, model)))


def _name_kind(kind: Mapping[str, Any]) -> str:
    return phrase(f"region.kinds.{_KINDS[kind['name']]}")


def _name_condition(condition: str) -> str:
    return phrase(f"region.conditions.{condition.rpartition(' ')[2]}")


def _list_conditions(kind: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Conditions of a kind, the best first: the known heading."""
    return sorted(kind["conditions"].items())


def _get_last(found: Mapping[str, Any]) -> Mapping[str, float]:
    """The share of the model that the index was made by."""
    shares: Mapping[str, Mapping[str, float]] = found["within_25m"]
    return list(shares.values())[-1]


def _format_share(share: Mapping[str, float]) -> str:
    percent = {name: 100.0 * share[name] for name in ("value", "low", "high")}
    return phrase("region.share", **percent)


def _format_percent(share: float) -> str:
    return phrase("region.percent", value=100.0 * share)


def _judge(kind: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each condition of a kind."""
    for condition, found in _list_conditions(kind):
        share = _get_last(found)
        text = phrase(
            "region.verdict",
            kind=_name_kind(kind),
            condition=_name_condition(condition),
            share=_format_share(share),
            photos=found["photos"],
            chance=_format_percent(kind["by_chance"]),
        )
        if share["low"] <= kind["by_chance"]:
            text += f" {phrase('region.no_better')}"
        if found["photos"] < FEW:
            text += f" {phrase('region.few', photos=found['photos'])}"
        yield text


def _list_rows(kind: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for condition, found in _list_conditions(kind):
        shares = [
            _format_share(found["within_25m"][label])
            if label in found["within_25m"]
            else phrase("page.no_value")
            for label in ("as given", "adapted")
        ]
        counts = f"{found['photos']} ({found['spots']})"
        chance = _format_percent(kind["by_chance"])
        yield (_name_kind(kind), _name_condition(condition), counts, *shares, chance)


def _tell_trust(facts: Facts) -> Iterator[str]:
    calibration = facts["calibration"]
    if calibration["kinds"]:
        kinds = [
            phrase("region.calibrated_kind", kind=kind, n=n) for kind, n in calibration["kinds"]
        ]
        yield phrase("region.calibrated", kinds=", ".join(kinds))
    else:
        yield phrase("region.not_calibrated", why=calibration["why"].rstrip("."))
    for kind in facts["test"]["calibration"]:
        for area in kind["sets"]:
            yield phrase(
                "region.coverage",
                kind=kind["name"],
                asked=_format_percent(area["asked"]),
                share=_format_share(area["coverage"]),
                photos=kind["n"],
                median=_format_percent(area["median_share"]),
            )


def _tell_help(facts: Facts) -> Iterator[str]:
    for kind in facts["test"]["kinds"]:
        conditions = {condition: _get_last(found) for condition, found in _list_conditions(kind)}
        if len(conditions) > 1:
            known, unknown = (_format_share(share) for share in conditions.values())
            yield phrase(
                "region.helps_heading", known=known, unknown=unknown, kind=_name_kind(kind)
            )
        for condition, found in _list_conditions(kind):
            if "gain" in found:
                yield _tell_gain(kind, condition, found["gain"])
    yield phrase("region.helps_small")
    model = facts["model"]
    if model["why"]:
        yield phrase("region.untrained", why=model["why"])
    elif model["kept"] == "as given":
        yield phrase("region.kept_given")


def _tell_gain(kind: Mapping[str, Any], condition: str, gain: Mapping[str, Any]) -> str:
    """What adapting changed on the test photos."""
    values = {
        "kind": _name_kind(kind),
        "condition": _name_condition(condition),
        "points": 100.0 * gain["difference"],
        "low": 100.0 * gain["low"],
        "high": 100.0 * gain["high"],
    }
    if not gain["sure"]:
        return phrase("region.unsure_adapting", **values)
    key = "region.helps_adapting" if gain["difference"] > 0.0 else "region.harmed_adapting"
    return phrase(key, **values)


def _advise(name: str, facts: Facts) -> Iterator[str]:
    tested = facts["division"]["testing"]
    if not tested:
        yield phrase("region.next_photos")
    elif tested < ENOUGH:
        yield phrase("region.next_more", photos=tested)
    if tested and not facts["calibration"]["kinds"]:
        yield phrase("region.next_calibrate", why=facts["calibration"]["why"].rstrip("."))
    if "PyTorch" in facts["model"]["why"]:
        yield phrase("region.next_train")
    yield phrase("region.next_locate", index=f"{name}/region.cvx")
    yield phrase("region.next_responsible")


def _tell_origin(facts: Facts, model: Mapping[str, str]) -> Iterator[str]:
    imagery, division = facts["imagery"], facts["division"]
    credit = " ".join(text for text in (imagery["attribution"], imagery["date"]) if text)
    yield phrase(
        "region.imagery",
        sources=", ".join(imagery["sources"][:5]),
        credit=credit or phrase("region.no_credit"),
    )
    for text in facts["index"]["warnings"]:
        yield phrase("region.warning", text=f"{text[:1].upper()}{text[1:]}")
    if facts["street"]["pairs"] is None:
        yield phrase("region.no_street")
    else:
        counts = {n: division[n] for n in ("adapting", "calibrating", "testing", "in_gap")}
        yield phrase("region.street", **counts)
    for licence, count in facts["street"]["licences"].items():
        yield phrase("region.licence", count=count, licence=licence)
    yield phrase(
        "region.model",
        name=model["name"],
        training=f"{model['training_data'].rstrip('.')}." if model["training_data"] else "",
        licence=model["licence"] or "–",
    )
    yield phrase("region.attribution")
