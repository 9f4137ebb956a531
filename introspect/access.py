"""Which requests introspection answers once a site has admitted them: GET and HEAD, and
nothing from a browser that changes anything. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from vagent.web.admission import Denial

METHODS = ("GET", "HEAD")
BROWSER_MARKS = ("origin", "referer", "sec-fetch-site", "accept-language")
"""Every browser sends some of these headers; command-line clients send none of them."""


def method_denial(method: str) -> Denial | None:
    """None for the methods that are answered here."""
    if method in METHODS:
        return None
    return Denial(405, "method", "Only GET and HEAD are answered here.")


def change_denial(method: str, marks: Collection[str]) -> Denial | None:
    """None if the request may change something. It may if it is a GET of a command-line
    tool, that is, if it has none of BROWSER_MARKS; `marks` are those that it has.
    """
    if method != "GET":
        return Denial(405, "method", "Only GET is answered here.")
    if marks:
        return Denial(403, "browser", "This is for command-line tools, not browsers.")
    return None


def wants_html(accept: str, wanted: str) -> bool:
    """Whether to answer in HTML. `wanted` is the form asked for in the query, if any;
    else browsers accept `text/html`, tools `*/*` or nothing.
    """
    if wanted:
        return wanted == "html"
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    return "text/html" in kinds
