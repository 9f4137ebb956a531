"""Promises of vagent.web.exchange."""

from __future__ import annotations

from vagent.web.exchange import SiteReply, SiteRequest


def test_bodies_do_not_show() -> None:
    """Instances hold secrets: a request or reply in a log shows no body."""
    for value in (SiteRequest("PUT", "/", body=b"secret"), SiteReply(200, b"secret")):
        assert "secret" not in repr(value)
