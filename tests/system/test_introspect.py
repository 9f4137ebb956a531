"""Promises of introspection, over real sockets and in a real browser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from lxml import etree, html

SERVER = Path(__file__).with_name("introspect_process.py")
CHROMIUM = shutil.which("chromium")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)

Render = Callable[[str], html.HtmlElement]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a running server."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def render(port: int, tmp_path: Path) -> Render:
    """What a person sees in Chromium: the document after it was rendered."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")

    def dump(path: str) -> html.HtmlElement:
        command = [
            CHROMIUM,
            *QUIET,
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            f"http://127.0.0.1:{port}{path}",
        ]
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        return html.document_fromstring(done.stdout.decode())

    return dump


def get(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=fields)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def rows(document: html.HtmlElement) -> dict[str, str]:
    """Facts by name, as they stand on the page."""
    return {
        row.find("th").text_content(): row.find("td").text_content()
        for row in document.xpath("//table[@class='facts']//tr")
    }


def test_the_front_page_shows_live_numbers(render: Render) -> None:
    """A browser shows the tiles with their numbers, and the way to each page."""
    document = render("/")
    tiles = {
        tile.find("span[1]").text_content(): tile.find("span[2]").text_content()
        for tile in document.xpath("//ul[@class='tiles']/li/a")
    }
    assert tiles == {
        "Agent": "Ready",
        "Metadata proxy": "3",
        "Statistics": "0",
        "Interfaces": "1",
        "Link-local services": "1",
        "Traces": "3",
    }
    assert document.findtext(".//h1") == "Overview"


def test_metadata_info_for_people(render: Render) -> None:
    """A browser gets a table of the counters and the upstreams."""
    facts = rows(render("/Snh_MetadataInfo"))
    assert (facts["Local port"], facts["Requests"]) == ("8097", "3")
    document = render("/Snh_MetadataInfo")
    cells = [
        cell.text_content() for cell in document.xpath("//section[h2='Upstream']//td")
    ]
    assert ["192.0.2.7:8775", "nova-a", "UP"] == cells[:3]


def test_services_for_people(render: Render) -> None:
    """A browser gets a table of the services."""
    cells = render("/Snh_LinkLocalServiceInfo").xpath("//td//text()")
    assert cells == ["metadata", "169.254.169.254", "80", "10.0.0.5", "8775"]


@pytest.mark.parametrize(
    "path", ["/", "/Snh_SandeshTraceRequest?x=Metadata", "/Snh_ItfReq"]
)
def test_hostile_text_is_only_text(render: Render, path: str) -> None:
    """Markup in a guest's name or URL is shown, not obeyed."""
    document = render(path)
    assert not document.xpath("//script | //*[@onload]")
    assert "owned" not in document.findtext(".//title")
    if path != "/":
        assert "<svg onload=" in document.text_content()


def test_the_style_sheet_is_allowed_by_the_policy(port: int, tmp_path: Path) -> None:
    """The browser reports no violation of our own Content-Security-Policy."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    command = [
        CHROMIUM,
        *QUIET,
        f"--user-data-dir={tmp_path}",
        "--enable-logging=stderr",
        f"--screenshot={tmp_path / 'page.png'}",
        f"http://127.0.0.1:{port}/Snh_MetadataInfo",
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert b"Content Security Policy" not in done.stderr


def test_tools_get_sandesh(port: int) -> None:
    """Over a real socket a tool gets Contrail's XML with a length."""
    response, body = get(port, "/Snh_SandeshTraceRequest?x=Metadata")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/xml")
    assert int(response.headers["Content-Length"]) == len(body)
    lines = etree.fromstring(body.decode()).xpath("//element/text()")
    assert len(lines) == 3
    assert "MetadataTrace: GET request for VM : 1.1.1.3 URL : latest/" in lines[0]


def test_a_rebound_name_gets_nothing(port: int) -> None:
    """A page of somebody else's, rebound to our address, reads nothing."""
    response, body = get(port, "/Snh_ItfReq", Host=f"evil.example:{port}")
    assert response.status == 421
    assert b"tap93c2c386" not in body


def test_a_browser_clears_nothing(port: int) -> None:
    """Clearing is for tools: a page elsewhere cannot make a browser do it."""
    response, _ = get(port, "/Snh_ClearAllInfo", Accept_Language="en")
    assert response.status == 403
    _, body = get(port, "/Snh_MetadataInfo")
    assert etree.fromstring(body.decode()).findtext("metadata_requests") == "3"


def test_monitoring(port: int) -> None:
    """Health, readiness and metrics answer on the same port."""
    assert get(port, "/healthz")[1] == b"ok\n"
    assert get(port, "/readyz")[0].status == 200
    assert b"vagent_metadata_requests_total 3" in get(port, "/metrics")[1]
    response, body = get(port, "/metrics", "HEAD")
    assert (response.status, body) == (200, b"")
