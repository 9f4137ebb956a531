"""Replies of the metadata server, and errors in the form in which webob writes Nova's.

The form of an error follows the Accept header: HTML or JSON if it allows one of them,
else plain text (also without the header).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

TEXT = "text/plain; charset=UTF-8"
HTML = "text/html; charset=UTF-8"
JSON = "application/json"

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_VALUE = f"(?:{_WORD}|{_QUOTED})"
_SEMICOLON = r"[ \t]*;[ \t]*"
_ELEMENT = re.compile(
    f"({_WORD}/{_WORD})((?:{_SEMICOLON}(?![qQ]=){_WORD}={_VALUE})*)"
    f"(?:{_SEMICOLON}[qQ]=(0(?:\\.[0-9]{{0,3}})?|1(?:\\.0{{0,3}})?)"
    f"(?:{_SEMICOLON}{_WORD}(?:={_VALUE})?)*)?"
)
"""A media range with its parameters and quality (RFC 7231 §5.3.2)."""
_COMMA = re.compile(r"[ \t]*,[ \t]*")

_TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
}


@dataclass(frozen=True, slots=True)
class NovaReply:
    """A complete reply. `etag` is the document's entity tag (RFC 9110 §8.8.3), "" for
    what has none; the agent's proxy is told when the instance is not known.
    """

    status: int
    content_type: str
    content: bytes = field(repr=False)
    etag: str = ""
    is_instance_known: bool = True


@dataclass(frozen=True, slots=True)
class NovaFault:
    """An error: `text` is Nova's, for the client; `reason` is the word for counters."""

    status: int
    text: str
    reason: str


BAD_TARGET = NovaFault(
    400,
    "The server could not comply with the request since it is either malformed or"
    " otherwise incorrect.",
    "bad-target",
)
NOT_FOUND = NovaFault(404, "The resource could not be found.", "no-such-path")
UNKNOWN_INSTANCE = NovaFault(404, NOT_FOUND.text, "unknown-instance")
WRONG_TENANT = NovaFault(404, NOT_FOUND.text, "wrong-tenant")
CONFLICT = NovaFault(
    409,
    "There was a conflict when trying to complete your request.",
    "password-already-set",
)
TOO_LARGE = NovaFault(400, "Request is too large.", "password-too-large")
NOT_TEXT = NovaFault(400, "The password is not UTF-8 text.", "password-not-text")
BAD_METHOD = NovaFault(400, "GET and POST only are supported.", "password-method")
BODY_TOO_LARGE = NovaFault(413, "The body of your request was too large.", "body-size")
FAILED = NovaFault(
    500,
    "An unknown error has occurred. Please try your request again.",
    "internal-error",
)

VENDOR_DATA_FAILED = NovaFault(500, "", "vendordata")
"""Nova's status, without a body: novajoin's script in the guest asks until there is
one, and would take an error page for vendor data.
"""


def text_reply(content: str | bytes) -> NovaReply:
    """200 with plain text, or with these bytes."""
    data = content.encode() if isinstance(content, str) else content
    return NovaReply(200, TEXT, data, f'"{_digest(data)}"')


def json_reply(value: object) -> NovaReply:
    """200 with JSON as Nova dumps it: ASCII, no newline at the end."""
    content = json.dumps(value).encode()
    return NovaReply(200, JSON, content, f'"{_digest(content)}"')


@dataclass(frozen=True, slots=True)
class SeededReply:
    """A JSON document that has a random seed in it, another one each time. That is no
    change of the document, so its entity tag is a weak one.
    """

    before: bytes = field(repr=False)
    after: bytes = field(repr=False)
    etag: str

    @classmethod
    def of(cls, value: object, place: str) -> SeededReply:
        """The seed comes where the text `place` stands, which is nowhere else."""
        before, _, after = json.dumps(value).encode().partition(place.encode())
        return cls(before, after, f'W/"{_digest(before + after)}"')

    def with_seed(self, seed: bytes) -> NovaReply:
        """The document with these random bytes, as base64."""
        content = self.before + base64.b64encode(seed) + self.after
        return NovaReply(200, JSON, content, self.etag)


def refuse(refusal: NovaFault, accept: str) -> NovaReply:
    """The error in the form that the Accept header asks for."""
    if not refusal.text:
        return NovaReply(refusal.status, TEXT, b"")
    title = _TITLES[refusal.status]
    status = f"{refusal.status} {title}"
    match _best_form(accept):
        case "text/html":
            page = (
                f"<html>\n <head>\n  <title>{status}</title>\n </head>\n <body>\n"
                f"  <h1>{status}</h1>\n  {refusal.text}<br /><br />\n\n\n\n"
                " </body>\n</html>"
            )
            return NovaReply(refusal.status, HTML, page.encode())
        case "application/json":
            message = f"{refusal.text}<br /><br />\n\n\n"
            answer = {"message": message, "code": status, "title": title}
            return NovaReply(refusal.status, JSON, json.dumps(answer).encode())
        case _:
            plain = f"{status}\n\n{refusal.text}\n\n   "
            return NovaReply(refusal.status, TEXT, plain.encode())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _best_form(accept: str) -> str | None:
    """The form that webob chooses: that of the highest quality, HTML before JSON; HTML
    where the header is malformed (RFC 7231 §5.3.2, webob/acceptparse.py).
    """
    ranges = _ranges(accept)
    if ranges is None:
        return "text/html"
    best, best_quality = None, 0.0
    for offer in ("text/html", "application/json"):
        quality = _quality(offer, ranges)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def _ranges(accept: str) -> list[tuple[str, bool, float]] | None:
    """Media ranges: name, whether it has parameters, quality. None if one is malformed.

    Elements may be empty. A comma at the head is an empty element to webob that still
    needs a comma behind it.
    """
    found: list[tuple[str, bool, float]] = []
    at = len(accept) - len(accept.removeprefix(","))
    element = None if at else _ELEMENT.match(accept)
    while at < len(accept):
        if element is not None:
            name, parameters, quality = element.groups()
            found.append((name.lower(), bool(parameters), float(quality or 1)))
            at = element.end()
        if at == len(accept):
            break
        comma = _COMMA.match(accept, at)
        if comma is None:
            return None
        at = comma.end()
        element = _ELEMENT.match(accept, at)
    return found


def _quality(offer: str, ranges: list[tuple[str, bool, float]]) -> float:
    """That of the most specific range which the offer is in; of equals the first."""
    group = offer.partition("/")[0] + "/*"
    for wanted, plain in ((offer, True), (group, False), ("*/*", False)):
        for name, has_parameters, quality in ranges:
            if name == wanted and not (plain and has_parameters):
                return quality
    return 0.0
