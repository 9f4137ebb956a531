"""The wall clock is set while the agent runs: nothing but dates may follow it.

The clock that is set is the agent's alone: libfaketime stands between it and the
kernel, and leaves the monotonic clocks as they are.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from vagent.metadata.limits import HEAD_SECONDS

pytestmark = pytest.mark.system

CONFIG = """<config><agent>
  <state-directory>{folder}/state</state-directory>
  <runtime-directory>{folder}/run</runtime-directory>
  <metadata-proxy>
    <shared-secret>made-up</shared-secret>
    <hold-time>1</hold-time>
  </metadata-proxy>
</agent></config>
"""
NOVA = """
import http.server
class Nova(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"nova")
http.server.ThreadingHTTPServer(("127.0.0.1", 7788), Nova).serve_forever()
"""
HOUR, DAY = 3600, 86400
AGAIN = HEAD_SECONDS + 10.0
"""Seconds for whatever was due when the clock was set: a half-sent head has the
longest deadline."""


class SettableClock:
    """The wall clock of one process, as far ahead of this machine's as `set` says."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        """So many seconds ahead; less than 0 is behind."""
        self._file.write_text(f"{seconds:+d}")

    def command(self) -> list[str]:
        """What runs a program under this clock."""
        (library,) = Path("/usr/lib").glob("*-linux-gnu/faketime/libfaketimeMT.so.1")
        return [
            "env",
            f"LD_PRELOAD={library}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
            "NO_FAKE_STAT=1",
        ]


def start_nova(site: Any) -> Any:
    """An upstream on the host, without TLS: a certificate is judged by the date."""
    nova = site.lab.host.start([sys.executable, "-c", NOVA])
    site.started.append(nova)
    wait_for(lambda: ":7788" in site.lab.host.run("ss", "-ltn"))
    return nova


def open_half_a_request(guest: Any) -> socket.socket:
    """A connection on which half of a head was sent."""

    def connect() -> socket.socket:
        made = socket.create_connection(("169.254.169.254", 80), 5 * PATIENCE)
        made.sendall(b"GET / HTTP/1.1\r\nHo")
        return made

    return inside(guest.machine.name, connect)


@pytest.mark.parametrize(
    "step", [-3 * HOUR, -400 * DAY, 400 * DAY], ids=["-3h", "-400d", "+400d"]
)
def test_a_step_of_the_clock(
    idle_site: Any, ask: Callable[..., str], step: int
) -> None:
    """A half-sent head is refused in time, lost rules are put back, an endpoint that
    was down is used again; traces show the new date.
    """
    site = idle_site
    clock = SettableClock(site.folder)
    site.agent.config = CONFIG.format(folder=site.folder)
    site.agent.prefix = clock.command()
    site.agent.start()
    alice = site.alice()
    site.agent.register(alice)
    nova = start_nova(site)
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "metadata"),
        *("--linklocal_service_ip", "169.254.169.254"),
        *("--linklocal_service_port", "80"),
        *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7788"),
    )
    wait_for(lambda: "nova" == ask(alice, "/"))
    nova.kill()
    nova.wait()
    assert "503" == ask(alice, "/down", "-o", "/dev/null", "-w", "%{http_code}")
    with contextlib.closing(open_half_a_request(alice)) as half:
        clock.set(step)
        site.agent.data_path.run("nft", "flush", "ruleset")
        start_nova(site)
        half.settimeout(AGAIN * PATIENCE)
        assert half.recv(1000).startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: "vagent" in site.agent.data_path.run("nft", "list", "tables"))
    wait_for(lambda: "nova" == ask(alice, "/again"), seconds=AGAIN)
    trace = site.agent.tool("vagent.ctl", "-o", "json", "trace", "Metadata")
    date = json.loads(trace)[-1]["time"]
    assert abs(date - time.time() - step) < HOUR  # noqa: TID251  it is about dates
