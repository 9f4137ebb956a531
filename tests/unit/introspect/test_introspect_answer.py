"""Promises of introspect.answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lxml import etree, html
from twisted.internet.defer import Deferred

from introspect.answer import NOT_FOUND, PageReply, PageRequest, PageRouter
from introspect.query import MAX_QUERY
from introspect.requests import MODULES, REQUESTS

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
XML, HTML, PLAIN = "text/xml", "text/html; charset=utf-8", "text/plain; charset=utf-8"


def answer(
    world: Any,
    path: str,
    query: str = "",
    *,
    accept: str = "*/*",
    method: str = "GET",
    mark: str = "",
) -> PageReply:
    marks = frozenset({mark} if mark else ())
    asked = PageRequest(method, path, query, accept, marks, 1469000000.0)
    return now(PageRouter(world.sources()), asked)


def now(router: PageRouter, asked: PageRequest) -> PageReply:
    """An answer whose facts need not be waited for."""
    answers: list[PageReply] = []
    Deferred.fromCoroutine(router.answer(asked)).addCallback(answers.append)
    return answers[0]


@pytest.mark.parametrize("name", [each.name for each in REQUESTS if not each.changes])
def test_tools_get_xml_and_browsers_html(world: Any, name: str) -> None:
    """Every request has both forms, chosen by Accept."""
    tool = answer(world, f"/Snh_{name}")
    assert (tool.status, tool.content_type) == (200, XML)
    etree.fromstring(tool.body.decode())
    person = answer(world, f"/Snh_{name}", accept=BROWSER)
    assert (person.status, person.content_type) == (200, HTML)
    root = html.document_fromstring(person.body.decode())
    assert root.xpath("//footer/a[2]/@href") == [f"/Snh_{name}?format=xml"]
    assert "2016-07-20 07:33:20 UTC" in root.find(".//footer").text_content()


def test_traces_are_json(world: Any) -> None:
    """For whoever asks, a browser too; errors as well. What begins alike is no page."""
    world.trace("x")
    reply = answer(world, "/vagent/traces/Metadata", accept=BROWSER)
    assert (200, "application/json") == (reply.status, reply.content_type)
    assert "x" == json.loads(reply.body)["entries"][0]["text"]
    assert 200 == answer(world, "/vagent/traces").status
    unknown = answer(world, "/vagent/traces/Nope")
    assert (404, "application/json") == (unknown.status, unknown.content_type)
    assert NOT_FOUND == answer(world, "/vagent/tracesX").body


def test_format_overrides_accept(world: Any) -> None:
    """A tool may ask for HTML. XML for a browser is shown as text, not as nothing."""
    assert answer(world, "/Snh_MetadataInfo", "format=html").content_type == HTML
    shown = answer(world, "/Snh_MetadataInfo", "format=xml", accept=BROWSER)
    assert shown.content_type == PLAIN
    assert shown.body == answer(world, "/Snh_MetadataInfo").body


def test_the_way_to_the_xml_keeps_the_arguments(world: Any) -> None:
    """The XML of a page answers the same question."""
    query = "x=Metadata&count=5"
    body = answer(world, "/Snh_SandeshTraceRequest", query, accept=BROWSER).body
    (href,) = html.document_fromstring(body.decode()).xpath("//footer/a[2]/@href")
    wanted = "/Snh_SandeshTraceRequest?count=5&buf_name=Metadata&format=xml"
    assert href == wanted


@pytest.mark.parametrize("path", ["/", "/index.html"])
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_the_index_is_html_for_all(world: Any, path: str, accept: str) -> None:
    """Contrail's index is HTML with links to the module files; ours too."""
    found = answer(world, path, accept=accept)
    assert (found.status, found.content_type) == (200, HTML)
    hrefs = html.document_fromstring(found.body.decode()).xpath("//a/@href")
    assert {f"/{module}.xml" for module in MODULES} < set(hrefs)


def test_every_link_of_the_index_leads_somewhere(world: Any) -> None:
    """No page links to a page that is not there."""
    seen, waiting = {"/"}, ["/"]
    while waiting:
        path, _, query = waiting.pop().partition("?")
        found = answer(world, path, query, accept=BROWSER)
        assert found.status == 200, path
        if found.content_type != HTML:
            continue
        hrefs = html.document_fromstring(found.body.decode()).xpath("//a/@href")
        new = {href for href in hrefs if href.startswith("/")} - seen
        seen |= new
        waiting += sorted(new)
    assert len(seen) > 15


def test_module_files(world: Any) -> None:
    """Module files have both forms too."""
    assert answer(world, "/agent.xml").content_type == XML
    person = answer(world, "/agent.xml", accept=BROWSER)
    forms = html.document_fromstring(person.body.decode()).xpath("//form/@action")
    assert "/Snh_ItfReq" in forms
    assert (
        answer(world, "/agent.xml", "format=xml", accept=BROWSER).content_type == PLAIN
    )


@pytest.mark.parametrize(
    "path",
    [
        "/Snh_Nope",
        "/Snh_",
        "/MetadataInfo",
        "/nope.xml",
        "/agent",
        "//agent.xml",
        "/favicon.ico",
        "/Snh_MetadataInfo/",
        "/../etc/passwd",
        "",
        "*",
    ],
)
def test_unknown_paths_are_not_found(world: Any, path: str) -> None:
    """Contrail's 404 for tools, a page with the way back for people."""
    tool = answer(world, path)
    assert (tool.status, tool.content_type, tool.body) == (404, HTML, NOT_FOUND)
    person = answer(world, path, accept=BROWSER)
    assert person.status == 404
    assert "Overview" in html.document_fromstring(person.body.decode()).text_content()


def test_the_404_of_tools_is_contrails() -> None:
    """Byte for byte, LF line ends."""
    expected = b"<html>\n<head>\n <title>404 Not Found</title>\n</head>\n</html>\n"
    assert expected == NOT_FOUND


@pytest.mark.parametrize(
    ("length", "status"), [(MAX_QUERY - 1, 200), (MAX_QUERY, 200), (MAX_QUERY + 1, 414)]
)
def test_queries_have_a_ceiling(world: Any, length: int, status: int) -> None:
    """A query of up to MAX_QUERY characters is read; a longer one is refused."""
    found = answer(world, "/Snh_MetadataInfo", "x" * length)
    assert found.status == status
    assert found.refused == ("query" if status == 414 else "")


def test_only_tools_clear(world: Any) -> None:
    """ClearAllInfo works by a tool's GET and is refused to browsers and HEAD."""
    world.count("metadata_requests_total", amount=7)
    router = PageRouter(world.sources())

    def ask(path: str, method: str = "GET", mark: str = "") -> PageReply:
        marks = frozenset({mark} if mark else ())
        return now(router, PageRequest(method, path, "", "*/*", marks, 0.0))

    def requests() -> str | None:
        body = ask("/Snh_MetadataInfo").body.decode()
        found: str | None = etree.fromstring(body).findtext("metadata_requests")
        return found

    refused = ask("/Snh_ClearAllInfo", mark="origin")
    assert (refused.status, refused.refused) == (403, "browser")
    refused = ask("/Snh_ClearAllInfo", "HEAD")
    assert (refused.status, refused.refused) == (405, "method")
    assert requests() == "7"
    assert ask("/Snh_ClearAllInfo").status == 200
    assert requests() == "0"


def test_metrics(world: Any) -> None:
    """Prometheus gets its text, whatever it accepts."""
    world.count("metadata_requests_total", amount=7)
    found = answer(world, "/metrics", accept=BROWSER)
    assert found.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nvagent_metadata_requests_total 7\n" in found.body


def test_health_and_readiness(world: Any) -> None:
    """Alive is always 200; ready is 503 with the reason until it is."""
    world.reason = "rules are not\x00 applied"
    assert answer(world, "/healthz").body == b"ok\n"
    found = answer(world, "/readyz")
    assert found.status == 503
    assert found.body.decode() == "rules are not\ufffd applied\n"
    world.reason = None
    found = answer(world, "/readyz")
    assert (found.status, found.body) == (200, b"ready\n")


def test_readiness_is_looked_for_when_it_is_asked(world: Any) -> None:
    """What the last look found is not good enough; other pages do not look."""

    async def look() -> None:
        world.reason = "table ip vagent is gone"

    world.look = look
    assert 200 == answer(world, "/", accept=BROWSER).status
    assert world.reason is None
    found = answer(world, "/readyz")
    assert (503, b"table ip vagent is gone\n") == (found.status, found.body)


def test_bodies_are_not_in_reprs() -> None:
    """repr of an answer stays short."""
    assert "secret" not in repr(PageReply(200, PLAIN, b"secret"))
