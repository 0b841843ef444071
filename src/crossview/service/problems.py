"""Problems: what a client gets when something goes wrong. Never a traceback or a path."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crossview.errors import BadImage, CrossviewError, EmptyRegion, UnknownName, UsageError

# The first row that fits counts. Errors that are not in the table are the server's: 503.
STATUS: tuple[tuple[type[CrossviewError], int, str], ...] = (
    (BadImage, 422, "bad-image"),
    (UnknownName, 404, "unknown-name"),
    (UsageError, 422, "invalid-value"),
    (EmptyRegion, 422, "empty-region"),
)
TITLES = {
    400: "Bad request", 401: "Key needed", 403: "Not allowed", 404: "Not found",
    405: "Method not allowed", 408: "Upload too slow", 413: "Too large", 415: "Not a photo",
    421: "Wrong host", 422: "Cannot be processed", 429: "Too many requests",
    500: "Server error", 503: "Not available",
}  # fmt: skip
_DECODER_MESSAGE = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)*\)\.$")


class Refusal(Exception):
    """A problem as an exception: a status, a code for programs, and a sentence for people."""

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
        """Its headers, with Retry-After in whole seconds where waiting helps."""
        if self.retry_after_s is None:
            return self._headers
        return {**self._headers, "Retry-After": str(max(1, round(self.retry_after_s)))}

    def to_json(self) -> dict[str, object]:
        """A problem document (RFC 9457)."""
        title = TITLES.get(self.status, "Refused")
        return {"title": title, "status": self.status, "code": self.code, "detail": self.detail}


def make_refusal(problem: BaseException) -> Refusal:
    """The refusal for any exception; unknown ones give the client no details."""
    if isinstance(problem, Refusal):
        return problem
    for kind, status, code in STATUS:
        if isinstance(problem, kind):
            return Refusal(status, code, _drop_decoder_message(problem))
    if isinstance(problem, CrossviewError):
        return Refusal(503, "region-trouble", "This region is not available now; the log says why.")
    return Refusal(500, "fault", "This is an error of the server. Its log has the details.")


def _drop_decoder_message(problem: CrossviewError) -> str:
    """The message without a decoder's own in brackets, which may hold memory addresses."""
    text = str(problem)
    return _DECODER_MESSAGE.sub(".", text) if isinstance(problem, BadImage) else text
