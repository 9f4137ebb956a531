"""What Contrail's command-line clients read from our XML (their XPaths, their GETs).

`ist.py` parses the response's text with lxml, asks `//Pagination/req/PageReqData` after
each GET, and reads the `size` of every list.
"""

from __future__ import annotations

from typing import Any

from lxml import etree
from twisted.internet.defer import Deferred

from introspect.answer import PageReply, PageRequest, PageRouter
from introspect.trace_line import trace_line


def fetch(world: Any, path: str) -> Any:
    """GET and parse as `ist.py` does, following its paging."""
    router = PageRouter(world.sources())
    path, _, query = path.partition("?")

    def get(path: str, query: str) -> Any:
        answers: list[PageReply] = []
        asked = router.answer(PageRequest("GET", path, query, "*/*", frozenset(), 0.0))
        Deferred.fromCoroutine(asked).addCallback(answers.append)
        (found,) = answers
        assert found.status == 200
        return etree.fromstring(found.body.decode("utf-8"))

    tree = get(path, query)
    pages = tree.xpath("//Pagination/req/PageReqData")
    if pages and pages[0].findtext("next_page"):
        tree = get("/Snh_PageReq", "x=" + pages[0].findtext("all"))
    assert tree.xpath("//next_batch") == []
    return tree


def rows(tree: Any, xpath: str) -> list[dict[str, str]]:
    """A table's rows as the client makes them, `more` left out."""
    found = tree.xpath(xpath)
    for field in tree.xpath("//*[@type='list']"):
        if field.tag != "list":
            assert int(field[0].get("size")) == len(field[0])
    return [
        {each.tag: each.text or "n/a" for each in row if each.tag != "more"}
        for row in found
    ]


def test_vr_trace(world: Any) -> None:
    """`vr trace` lists the buffers."""
    world.trace("x")
    world.trace("y", buffer="Agent")
    tree = fetch(world, "/Snh_SandeshTraceBufferListRequest")
    names = [each.text for each in tree.xpath("//trace_buf_name")]
    assert names == ["Agent", "Metadata"]


def test_vr_trace_metadata(world: Any) -> None:
    """`vr trace Metadata` shows every line, binary rubbish in it or not."""
    world.trace("GET request for VM : 1.1.1.3 URL : \x00\x1b[31m&<x>", time=1.0)
    world.trace("second", time=2.0)
    tree = fetch(world, "/Snh_SandeshTraceRequest?x=Metadata")
    lines = [each.text for each in tree.xpath("//element")]
    assert lines == [trace_line(each) for each in world.traces.entries("Metadata")]
    assert "URL : \\x00\\x1b[31m&<x> " in lines[0]


def test_vr_service_metadata(world: Any) -> None:
    """`vr service Metadata` shows the counters as one row."""
    world.count("metadata_requests_total", amount=12)
    tree = fetch(world, "/Snh_MetadataInfo")
    assert rows(tree, "//MetadataResponse") == [
        {
            "metadata_server_port": "8097",
            "metadata_requests": "12",
            "metadata_responses": "0",
            "metadata_proxy_sessions": "0",
            "metadata_internal_errors": "0",
        }
    ]


def test_vr_linklocal(world: Any) -> None:
    """`vr linklocal` shows every service with all its fields."""
    world.service("metadata", "169.254.169.254", 80)
    tree = fetch(world, "/Snh_LinkLocalServiceInfo")
    (row,) = rows(tree, "//LinkLocalServiceData")
    assert row["linklocal_service_name"] == "metadata"
    assert row["ipfabric_dns_name"] == "n/a"
    assert tree.xpath("//ipfabric_ip/list/element/text()") == ["10.0.0.5"]


def test_vr_intf(many: Any) -> None:
    """`vr intf` has its default columns, and pages through more than 100."""
    tree = fetch(
        many(120),
        "/Snh_ItfReq?name=&type=&uuid=&vn=&mac=&ipv4_address=",
    )
    found = rows(tree, "//ItfSandeshData")
    assert len(found) == 120
    assert len({tuple(row) for row in found}) == 1
    columns = ("index", "name", "active", "mac_addr", "ip_addr", "mdata_ip_addr")
    first = [found[0][name] for name in columns]
    assert first == [
        *("2", "tap0002", "Active", "02:00:00:00:00:02", "10.0.0.2", "169.254.64.2")
    ]
    assert found[0]["vm_name"] == "web-2"
    assert found[0]["vn_name"]


def test_vr_intf_filters(many: Any) -> None:
    """`vr intf -u` and the positional search find one interface."""
    tree = fetch(many(120), "/Snh_ItfReq?name=&type=&uuid=000000000007&vn=")
    assert tree.xpath("//ItfSandeshData/name/text()") == ["tap0007"]
    found = tree.xpath("//ItfSandeshData[contains(., '10.0.0.7')]")
    assert len(found) == 1


def test_the_go_client_reads_pages_by_path(many: Any) -> None:
    """nlewo's client asks PageReq directly and walks the wrapper by name."""
    tree = fetch(many(3), "/Snh_PageReq?x=begin:-1,end:-1,table:db.interface.0,")
    assert tree.tag == "__ItfResp_list"
    assert len(tree.xpath("ItfResp/itf_list/list/ItfSandeshData")) == 3
