"""What a request's method and headers allow, beyond the admission of every site: what
changes anything is refused to browsers. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from vagent.web.admission import Denial

METHODS = ("GET", "HEAD")
BROWSER_MARKS = ("origin", "referer", "sec-fetch-site", "accept-language")
"""Headers that every browser sends some of and no command-line client sends."""


def method_denial(method: str) -> Denial | None:
    """None for the methods that are answered here."""
    if method in METHODS:
        return None
    return Denial(405, "method", "Only GET and HEAD are answered here.")


def change_denial(method: str, marks: Collection[str]) -> Denial | None:
    """None if the request may change something: a GET of a command-line tool, known by
    having none of BROWSER_MARKS. `marks` are those that it has.
    """
    if method != "GET":
        return Denial(405, "method", "Only GET is answered here.")
    if marks:
        return Denial(403, "browser", "This is for command-line tools, not browsers.")
    return None


def wants_html(accept: str, wanted: str) -> bool:
    """Is HTML the right form? Browsers say `text/html`; tools say `*/*` or nothing."""
    if wanted:
        return wanted == "html"
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    return "text/html" in kinds
