"""Who may ask: decisions on a request's head alone.

The server has no passwords, so it must not become reachable through somebody's
browser: a Host that is a name the operator does not know is DNS rebinding, and what
changes anything is refused to browsers. Refuses to know pages.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

METHODS = (b"GET", b"HEAD")
BROWSER_MARKS = ("origin", "referer", "sec-fetch-site", "accept-language")
"""Headers that every browser sends some of and no command-line client sends."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: HTTP status, reason from a closed set, a sentence for the client."""

    status: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Head:
    """What decides of a request."""

    method: bytes
    hosts: tuple[str, ...]
    is_http11: bool
    marks: frozenset[str] = frozenset()


def refusal(head: Head, *, names: Collection[str]) -> Refusal | None:
    """None if the request may be answered. `names` are the host names of the agent;
    addresses are always right, since a rebound name is never an address.
    """
    if head.method not in METHODS:
        return Refusal(405, "method", "Only GET and HEAD are answered here.")
    if not head.hosts and not head.is_http11:
        return None
    if len(head.hosts) != 1:
        return Refusal(400, "host", "Exactly one Host header is needed.")
    if not is_known_host(head.hosts[0], names):
        return Refusal(421, "host", "This server does not answer for that Host.")
    return None


def change_refusal(head: Head) -> Refusal | None:
    """May this request change something? Only a tool's GET may."""
    if head.method != b"GET":
        return Refusal(405, "method", "Only GET is answered here.")
    if head.marks:
        return Refusal(403, "browser", "This is for command-line tools, not browsers.")
    return None


def is_known_host(host: str, names: Collection[str]) -> bool:
    """Is the Host an IP literal or one of `names`, with or without a port?"""
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
        return False
    if name.startswith("[") and name.endswith("]"):
        return _is_address(name[1:-1])
    return name.lower().removesuffix(".") in names or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def wants_html(accept: str, wanted: str) -> bool:
    """Is HTML the right form? Browsers say `text/html`; tools say `*/*` or nothing."""
    if wanted:
        return wanted == "html"
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    return "text/html" in kinds
