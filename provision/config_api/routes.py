"""Finds the coroutine that answers a call. Patterns are path segments; `*` is a
variable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from provision.config_api.reply import (
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
    text_reply,
)
from vagent.errors import ConflictError, StoreError

ANY = "*"
_SHOWN = 256


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A route. `answer` is called with the request and the segments at the
    variables.
    """

    method: str
    pattern: str
    answer: Callable[..., Awaitable[ConfigApiReply]]

    def variables(self, segments: Sequence[str]) -> tuple[str, ...] | None:
        """The segments at the variables, or None if the path does not match."""
        wanted = self.pattern.strip("/").split("/")
        if len(wanted) != len(segments):
            return None
        pairs = list(zip(wanted, segments, strict=True))
        if any(want not in (ANY, got) for want, got in pairs):
            return None
        return tuple(got for want, got in pairs if want == ANY)


async def dispatch(
    routes: Sequence[ApiRoute], request: ConfigApiRequest
) -> ConfigApiReply:
    """The reply to a call; refusals and failures of the store become replies, too."""
    try:
        return await _answer(routes, request)
    except RefusedError as refusal:
        return refusal.reply()
    except ConflictError as error:
        return text_reply(412, str(error))
    except StoreError as error:
        return text_reply(503, f"The store failed: {error}")


async def _answer(
    routes: Sequence[ApiRoute], request: ConfigApiRequest
) -> ConfigApiReply:
    segments = request.path.strip("/").split("/")
    method = "GET" if request.method == "HEAD" else request.method
    allowed = []
    for route in routes:
        variables = route.variables(segments)
        if variables is None:
            continue
        if route.method == method:
            return await route.answer(request, *variables)
        allowed.append(route.method)
    if allowed:
        return text_reply(405, "Method not allowed.", allow=tuple(allowed))
    return text_reply(404, f"Not found: {request.path[:_SHOWN]!a}")


def expected_revision(request: ConfigApiRequest) -> int | None:
    """The revision that If-Match or If-None-Match demands: 0 for "must not exist", None
    for nothing (also for If-Match `*`, which the caller checks).

    Raises RefusedError (412, 400) for an ETag that this server never gave.
    """
    if request.if_none_match is not None:
        if request.if_none_match.strip() != ANY:
            raise RefusedError(400, "If-None-Match: only * is allowed here")
        return 0
    if request.if_match is None or request.if_match.strip() == ANY:
        return None
    digits = request.if_match.strip().strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise RefusedError(
            412, f"If-Match: {request.if_match[:_SHOWN]!a} is not current"
        )
    return int(digits) or -1
