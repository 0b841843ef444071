"""Titles of the page's sections and what stands below them."""

from __future__ import annotations

SECTIONS = {
    "overview": ("What came out", ""),
    "results": (
        "Results beside the published figures",
        "A table holds rows of one protocol. Whatever was measured in another way is set apart "
        "below it, with the difference named, and takes no part in the best of a column.",
    ),
    "differences": (
        "Is the difference real?",
        "Row minus column in points of R@1 over the queries that both answered, the 95 % interval, "
        "and p of the paired test, corrected for all comparisons on this page (Holm). Coloured: "
        "p < 0.05. Grey: may be chance.",
    ),
    "recall": (
        "How far down the list",
        "Share of the queries whose truth is among the first k references. Bands: 95 % intervals.",
    ),
    "fields": (
        "With less of the panorama",
        "The same headings for every run. Bars: 95 % intervals. One model for every view is "
        "judged by its mean over 360, 180, 90 and 70 degrees.",
    ),
    "errors": (
        "How far off, in metres",
        "Share of the queries whose first place lies within so many metres of the truth. Dotted: "
        "5, 25 and 100 m. Bands: 95 % intervals.",
    ),
    "scores": (
        "What separates right from wrong",
        "Density of the scores of the true tile and of a wrong tile drawn at random; where they "
        "were measured, also of the true tile against the picture mirrored or turned, which a "
        "method that reads the layout should tell apart.",
    ),
    "trust": (
        "Are calibrated regions right about themselves?",
        "Indexes that were calibrated on photos of known place: probability of lying within 25 m "
        "as stated, against how often it was so, and what their areas and refusals are worth.",
    ),
    "sure": (
        "If only the sure ones answer",
        "Share of right first answers when the queries with the highest scores alone are answered.",
    ),
    "maps": (
        "Where it goes wrong",
        "Every query at its true place, north up: a dot where the first answer lies within 25 m, a "
        "cross with a line to the answer where it does not. Small grey points: the references.",
    ),
    "damage": (
        "With damaged pictures",
        "R@1 where noise, blur, weather or compression was put on the ground pictures, from none "
        "to the worst of five severities. The same damage for every run. Bars: 95 % intervals.",
    ),
    "galleries": (
        "Look at the answers",
        "The pictures as they are on disk. With a limited field of view the run saw only a part of "
        "each panorama. Blue frame: right; orange frame: wrong.",
    ),
    "method": ("How it was measured", ""),
}
