"""Promises of `vagentctl flow`. No socket: a server in memory answers."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vagent.ctl import command_line as ctl
from vagent.ctl import flows as ctl_flows
from vagent.ctl import session as ctl_session

PORT = "93c2c386-6e79-485e-bfa4-b9daa713133b"
FLOW = (
    "<FlowData>"
    f'<port_id type="string" identifier="1">{PORT}</port_id>'
    '<guest type="string" identifier="2">al&lt;ice</guest>'
    '<guest_address type="string" identifier="3">10.0.0.5</guest_address>'
    '<source_port type="i32" identifier="5">{port}</source_port>'
    '<protocol type="string" identifier="6">tcp</protocol>'
    '<service type="string" identifier="7">80</service>'
    '<service_address type="string" identifier="8">fe80::a9fe:a9fe</service_address>'
    '<service_port type="i32" identifier="9">80</service_port>'
    '<endpoint_address type="string" identifier="10">169.254.64.1</endpoint_address>'
    '<endpoint_port type="i32" identifier="11">8097</endpoint_port>'
    '<state type="string" identifier="12">ESTABLISHED</state>'
    "{more}</FlowData>"
)
COUNTED = (
    '<age type="u32" identifier="14">61</age>'
    '<sent_bytes type="u64" identifier="15">1600</sent_bytes>'
)
Run = Callable[..., tuple[int, str, str]]


def response(*flows: str, next_key: str = "", cut: str = "false") -> bytes:
    return (
        '<?xml-stylesheet type="text/xsl" href="/universal_parse.xsl"?>'
        '<FlowListResp type="sandesh"><flow_list type="list" identifier="1">'
        f'<list type="struct" size="{len(flows)}">{"".join(flows)}</list></flow_list>'
        f'<next_key type="string" identifier="2">{next_key}</next_key>'
        f'<cut type="bool" identifier="3">{cut}</cut>'
        '<more type="bool" identifier="0">false</more></FlowListResp>'
    ).encode()


def flow(port: int = 33000, more: str = "") -> str:
    return FLOW.replace("{port}", str(port)).replace("{more}", more)


class Reply(io.BytesIO):
    status = 200
    length = None

    def getheaders(self) -> list[tuple[str, str]]:
        return []


class Wire:
    """Answers by path."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []

    def __call__(self, *_where: Any, **_options: Any) -> Wire:
        return self

    def request(self, _method: str, path: str, **_more: Any) -> None:
        self.asked.append(path)

    def getresponse(self) -> Reply:
        return Reply(self.answers[self.asked[-1]])

    def close(self) -> None:
        pass


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wire:
    """The other side, and no agent.conf of this machine."""
    wire = Wire()
    monkeypatch.setattr(http.client, "HTTPConnection", wire)
    monkeypatch.setattr(ctl_session, "DEFAULT_CONFIG", tmp_path / "absent.conf")
    return wire


@pytest.fixture
def run(wire: Wire) -> Run:
    """Run vagentctl; exit code, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        code = ctl.main(argv, stdin=io.StringIO(), stdout=out, stderr=err)
        return code, out.getvalue(), err.getvalue()

    return run


def test_flows_are_a_table(run: Run, wire: Wire) -> None:
    """One line each; a dash for what the kernel does not tell."""
    wire.answers["/Snh_FlowListReq"] = response(flow(1, COUNTED), flow(2))
    code, out, err = run("flow", "list")
    assert (0, "") == (code, err)
    head, first, second = out.splitlines()
    assert ["GUEST", "FROM", "SERVICE", "TO", "ENDPOINT", "STATE"] == head.split()[:6]
    assert [
        *("al<ice", "10.0.0.5:1", "80", "[fe80::a9fe:a9fe]:80", "tcp"),
        *("169.254.64.1:8097", "ESTABLISHED", "1600", "-", "-", "-", "61"),
    ] == first.split()
    assert ["-"] * 5 == second.split()[-5:]


def test_flows_are_json(run: Run, wire: Wire) -> None:
    """Under the page's names; numbers are numbers, text that looks like one is not."""
    wire.answers["/Snh_FlowListReq"] = response(flow(1, COUNTED))
    _code, out, _err = run("-o", "json", "flow", "list")
    (found,) = json.loads(out)
    assert (PORT, 1, "80", 80, 61, 1600) == tuple(
        found[name]
        for name in (
            *("port_id", "source_port", "service", "service_port"),
            *("age", "sent_bytes"),
        )
    )
    assert "from" not in found


def test_the_fast_path_is_told_with_the_state(run: Run, wire: Wire) -> None:
    """Of people; programs get a member of its own."""
    fast = flow(more='<fast_path type="bool" identifier="19">true</fast_path>')
    wire.answers[ctl_flows.REQUEST] = response(fast, flow(33001))
    _, output, _ = run("flow", "list")
    assert output.count("ESTABLISHED, fast path") == 1
    assert output.count("ESTABLISHED") == 2
    _, output, _ = run("-o", "json", "flow", "list")
    assert json.loads(output)[0]["fast_path"] == "true"


def test_no_flows(run: Run, wire: Wire) -> None:
    """Titles alone, or an empty list."""
    wire.answers["/Snh_FlowListReq"] = response()
    assert 1 == len(run("flow", "list")[1].splitlines())
    assert [] == json.loads(run("-o", "json", "flow", "list")[1])


def test_one_port(run: Run, wire: Wire) -> None:
    """Its UUID is checked here and asked for there."""
    wire.answers[f"/Snh_FlowListReq?port={PORT}"] = response(flow())
    assert 0 == run("flow", "list", "--port", PORT.upper())[0]
    assert 2 == run("flow", "list", "--port", "alice")[0]
    assert [f"/Snh_FlowListReq?port={PORT}"] == wire.asked


def test_every_page_is_fetched(run: Run, wire: Wire) -> None:
    """By the key that the page before gave, port and all."""
    path = f"/Snh_FlowListReq?port={PORT}"
    wire.answers[path] = response(flow(1), next_key="0-2-1")
    wire.answers[f"{path}&flow_key=0-2-1"] = response(flow(2))
    _code, out, _err = run("-o", "json", "flow", "list", "--port", PORT)
    assert [1, 2] == [each["source_port"] for each in json.loads(out)]


def test_pages_without_end_have_an_end(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAX_PAGES, whatever a server says."""
    monkeypatch.setattr(ctl_flows, "MAX_PAGES", 3)
    for path in ("/Snh_FlowListReq", "/Snh_FlowListReq?flow_key=again"):
        wire.answers[path] = response(flow(), next_key="again")
    assert 0 == run("flow", "list")[0]
    assert 3 == len(wire.asked)


def test_a_cut_list_says_so(run: Run, wire: Wire) -> None:
    """On standard error, so that JSON stays JSON."""
    wire.answers["/Snh_FlowListReq"] = response(flow(), cut="true")
    _code, _out, err = run("flow", "list")
    assert "use --port" in err


def test_what_the_agent_says_is_told(run: Run, wire: Wire) -> None:
    """Failed, with its words; whatever else comes is no flow list."""
    wire.answers["/Snh_FlowListReq"] = (
        b'<FlowErrorResp type="sandesh"><resp type="string" identifier="1">no such port'
        b"</resp></FlowErrorResp>"
    )
    assert (1, "", "vagentctl: no such port\n") == run("flow", "list")
    wire.answers["/Snh_FlowListReq"] = b"<other/>"
    code, _out, err = run("flow", "list")
    assert (1, "vagentctl: introspection answered something else\n") == (code, err)
