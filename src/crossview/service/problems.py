"""What a client is told when something goes wrong: one table, and never a trace or a path."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crossview.errors import (
    BadImage,
    CrossviewError,
    EmptyRegion,
    UnknownName,
    UsageError,
)

# The first row that fits counts. What is not in the table is the server's own trouble: 503.
STATUS: tuple[tuple[type[CrossviewError], int, str], ...] = (
    (BadImage, 422, "bad-image"),
    (UnknownName, 404, "unknown-name"),
    (UsageError, 422, "invalid-value"),
    (EmptyRegion, 422, "empty-region"),
)
TITLES = {
    400: "Bad request", 401: "Key needed", 403: "Not allowed", 404: "Not found",
    405: "Method not allowed", 408: "Too slow", 413: "Too much", 415: "Not a photo",
    421: "Wrong host", 422: "Cannot be used", 429: "Too many requests",
    500: "Fault of the server", 503: "Not available",
}  # fmt: skip
_DECODER_SAID = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)*\)\.$")


class Refusal(Exception):
    """An answer that is no result: a status, a code for programs, and a sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.retry_after_s, self._headers = retry_after_s, dict(headers or {})

    @property
    def headers(self) -> dict[str, str]:
        """Headers of its own, and Retry-After in whole seconds where waiting helps."""
        if self.retry_after_s is None:
            return self._headers
        return {**self._headers, "Retry-After": str(max(1, round(self.retry_after_s)))}

    def to_json(self) -> dict[str, object]:
        """A problem document (RFC 9457)."""
        title = TITLES.get(self.status, "Refused")
        return {"title": title, "status": self.status, "code": self.code, "detail": self.detail}


def refusal_of(problem: BaseException) -> Refusal:
    """The refusal that stands for any exception; unknown ones tell the client nothing."""
    if isinstance(problem, Refusal):
        return problem
    for kind, status, code in STATUS:
        if isinstance(problem, kind):
            return Refusal(status, code, _plain(problem))
    if isinstance(problem, CrossviewError):
        return Refusal(503, "region-trouble", "This region cannot be asked now; its log says why.")
    return Refusal(500, "fault", "This is a fault of the server. Its log has the details.")


def _plain(problem: CrossviewError) -> str:
    """The message without what a decoder said in brackets, which may hold addresses."""
    text = str(problem)
    return _DECODER_SAID.sub(".", text) if isinstance(problem, BadImage) else text
