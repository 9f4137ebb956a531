"""Finds, creates, reads and updates objects of Contrail's config API, by a client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vagent.web.json_client import BROKEN, ApiError, ApiReply, JsonClient


class ConfigObjects:
    """The objects of one API server, ours or Contrail's."""

    def __init__(self, client: JsonClient) -> None:
        self._client = client
        self.not_in_force = ""
        """What vagent's API says of the last change if that is not in force; "" if it
        is, and where the server is Contrail's, which does not know."""

    def __str__(self) -> str:
        return str(self._client.address)

    def fq_name_to_id(self, kind: str, fq_name: Sequence[str]) -> str | None:
        """The UUID of an object, or None if there is none of that name."""
        body = {"type": kind, "fq_name": list(fq_name)}
        try:
            found = self._client.json("POST", "/fqname-to-id", body)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return str(self._member(found, "uuid"))

    def create(self, kind: str, value: dict[str, Any]) -> str:
        """Make an object and return its UUID. Raises ApiError (409) if it exists."""
        reply = self._client.send("POST", f"/{kind}s", {kind: value})
        self._note(reply)
        made = reply.json(f"{self}: POST /{kind}s")
        return str(self._member(self._member(made, kind), "uuid"))

    def read(self, kind: str, uuid: str) -> tuple[dict[str, Any], str]:
        """An object and its ETag, "" where the server has none."""
        path = f"/{kind}/{uuid}?exclude_back_refs=True&exclude_children=True"
        reply = self._client.send("GET", path)
        found = self._member(reply.json(f"{self}: GET /{kind}/{uuid}"), kind)
        return dict(found), reply.etag

    def update(
        self, kind: str, uuid: str, value: dict[str, Any], *, etag: str = ""
    ) -> str:
        """Write properties of an object; the reply's text. ApiError 412 if `etag` is
        given and somebody else was faster.
        """
        reply = self._client.send("PUT", f"/{kind}/{uuid}", {kind: value}, etag=etag)
        self._note(reply)
        return reply.body.decode("utf-8", "replace")

    def _note(self, reply: ApiReply) -> None:
        verdict, _, why = reply.headers.get("vagent-in-force", "").partition(": ")
        self.not_in_force = why if verdict == "no" else ""

    def _member(self, document: object, key: str) -> Any:
        if isinstance(document, dict) and key in document:
            return document[key]
        raise ApiError(f"{self}: no {key} in the reply", status=BROKEN)
