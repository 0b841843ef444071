"""Made-up records of evaluations: right for a share of the queries, in a small square town."""

from __future__ import annotations

import numpy as np

from crossview.evaluation.evaluation_record import Evaluation, Figure, Protocol, Queries, References

CORNER = (47.0, 8.0)  # latitude, longitude
STEP_DEG = 0.0002
CVUSA = {"data": "cvusa:data/CVUSA", "headings": "aligned", "k_at_1_percent": 88,
         "model": {"fingerprint": "f", "training_data": "cvusa"}}  # fmt: skip


def gallery(count=400):
    """References on a square grid, about 20 m apart."""
    side = int(np.ceil(count**0.5))
    rows, columns = np.divmod(np.arange(count), side)
    latlon = np.stack([CORNER[0] + STEP_DEG * rows, CORNER[1] + STEP_DEG * columns], axis=1)
    return References(ids=np.array([f"aerial/{n}.jpg" for n in range(count)]), latlon=latlon)


def queries(count, right, seed, references):
    """Every query has reference n as its truth; a share ``right`` of them find it first."""
    rng = np.random.default_rng(seed)
    total = len(references.ids)
    hit = np.random.default_rng(1).random(count) < right  # the easy queries are easy for all
    rank = np.where(hit, 1, rng.integers(2, total, count))
    truth = np.arange(count) % total
    best = rng.integers(0, total, (count, 10))
    best[:, 0] = np.where(hit, truth, (truth + rng.integers(1, 200, count)) % total)
    places = references.latlon
    score = np.sort(rng.normal(0.5, 0.1, (count, 10)), axis=1)[:, ::-1].astype(np.float32)
    wrong_m = 20.0 * np.hypot(*((places[best[:, 0]] - places[truth]) / STEP_DEG).T)
    return Queries(
        ids=np.array([f"ground/{n}.jpg" for n in range(count)]),
        rank=rank, error_m=np.where(hit, rng.uniform(0, 10, count), wrong_m + 5.0),
        truth_latlon=places[truth], found_latlon=places[best[:, 0]], best=best, best_score=score,
        true_score=np.where(hit, score[:, 0], score[:, 0] - 0.2).astype(np.float32),
        unmatched_score=rng.normal(0.1, 0.1, count).astype(np.float32), cluster=truth,
        truth=truth,
    )  # fmt: skip


def evaluation(label="ours", data="town:data/suburb", right=0.6, count=200, seed=0, **changes):
    """A record; ``changes`` go to the protocol or the record, whichever has such a field."""
    references = changes.pop("references", None) or gallery()
    r_at_1 = changes.pop("figures_given", None)
    asked = queries(count, right, seed, references)
    protocol = {"relation": "one to one", "headings": "unknown", "fov_deg": 360.0,
                "representation": "narrow"}  # fmt: skip
    protocol |= {k: changes.pop(k) for k in list(changes) if k in Protocol.__dataclass_fields__}
    facts = {"label": label, "method": "compass", "model": {"fingerprint": label * 3}, "data": data,
             "split": "test", "root": "", "seeds": (0,), "skipped": 0, "k_at_1_percent": 4,
             "command": "crossview evaluate"}  # fmt: skip
    return Evaluation(
        **{**facts, **changes}, protocol=Protocol(**protocol), figures=figures(asked, r_at_1),
        queries=asked, references=references,
    )  # fmt: skip


def cvusa(**changes):
    """A record with as many queries as the official list of CVUSA."""
    return evaluation(**{**CVUSA, "count": 8884, **changes})


def figures(asked, r_at_1=None):
    """R@k in percent with an interval of two standard errors, and the median error.

    ``r_at_1`` stands in for the R@1 of the answers.
    """
    n = len(asked.ids)
    found = []
    for name, k in {"R@1": 1, "R@5": 5, "R@10": 10, "R@1%": 4}.items():
        share = float(np.mean(asked.rank <= k))
        wide = 2.0 * (share * (1 - share) / n) ** 0.5
        found.append(figure(name, 100 * share, 100 * max(0, share - wide), 100 * (share + wide), n))
    median = float(np.median(asked.error_m))
    if r_at_1 is not None:
        found[0] = figure("R@1", r_at_1, r_at_1 - 2.0, r_at_1 + 2.0, n)
    return (*found, figure("median error m", median, 0.9 * median, 1.1 * median, n, "m"))


def figure(name, value, low, high, n, unit="%"):
    return Figure(name=name, value=value, low=low, high=min(high, 100.0) if unit == "%" else high,
                  n=n, unit=unit, over="queries, one training")  # fmt: skip
