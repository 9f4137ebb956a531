"""No service leads guests to the agent's own servers, however it was provisioned."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lab.agent import configuration
from lab.namespaces import LabError
from lab.waiting import wait_for
from tests.system.offers import SERVICE4, answered, traced
from vagent.linklocal.codec import KIND, PROPERTY, wire_entry

pytestmark = pytest.mark.system

NAME = "own.example.net"
LISTENER = ("169.254.64.1", 8097)
"""The metadata proxy's, behind the agent's own interface."""


def offer(
    site: Any, port: int, *fabric: str, name: str = "echo", force: bool = True
) -> str:
    """Provision a service; what is said of it on standard error and output."""
    done = site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", name),
        *("--linklocal_service_ip", SERVICE4, "--linklocal_service_port", "7"),
        *("--ipfabric_service_port", str(port), *fabric),
        *(("--force",) if force else ()),
    )
    return str(done)


def entry(host: str, port: int) -> dict[str, Any]:
    """The same as JSON."""
    return wire_entry(
        name="echo",
        address=SERVICE4,
        port=7,
        fabric_addresses=[host],
        fabric_port=port,
    )


def not_in_force(site: Any) -> list[Any]:
    """What the config API says of it."""
    found = json.loads(site.agent.get("http://127.0.0.1:8082/vagent/services"))
    return [*found["left_out"], *found["pending"]]


def test_the_api_refuses_it(site: Any) -> None:
    """From our script, forced, and from any other client; and nothing is stored."""
    ends = [("127.0.0.1", port) for port in (9091, 8082, 8085, 8775)]
    for host, port in (*ends, LISTENER):
        with pytest.raises(LabError, match=rf"400: .*{host} port {port} is the "):
            offer(site, port, "--ipfabric_service_ip", host)
    with pytest.raises(LabError, match=r"127\.0\.0\.1 port 8082 is the config API"):
        offer(site, 8082, "--ipfabric_dns_service_name", "localhost")
    with pytest.raises(LabError, match=r"400: .*guests must not reach"):
        offer(site, 8082, "--ipfabric_service_ip", "127.0.0.1", force=False)
    assert "echo" not in site.agent.tool("vagent.ctl", "service", "list")


def test_a_server_at_every_address_has_each_address_of_the_host(idle_site: Any) -> None:
    """Those of the host's interfaces, and no others."""
    site = idle_site
    token = site.folder / "token"
    token.touch(mode=0o600)
    token.write_text("a-token-that-is-long-enough\n")
    site.agent.config = configuration(
        site.folder,
        extra="<introspect><address>0.0.0.0</address>"
        f'<access file="{token}">token</access></introspect>',
    )
    site.agent.start(wait=False)
    wait_for(lambda: ":9091" in site.lab.host.run("ss", "-ltn"))
    site.lab.host.run("ip", "address", "add", "198.51.100.9/32", "dev", "lo")
    for host in ("198.51.100.9", "127.0.0.5"):
        with pytest.raises(LabError, match=f"{host} port 8085 is the introspection"):
            offer(site, 8085, "--ipfabric_service_ip", host)
    offer(site, 8085, "--ipfabric_service_ip", "192.0.2.77")


def test_what_was_stored_earlier_is_not_in_force(site: Any) -> None:
    """It is shown with the reason, and guests are refused."""
    alice = site.alice()
    site.introduce(alice)
    offer(site, 7777, "--ipfabric_service_ip", "127.0.0.1")
    site.agent.stop()
    with sqlite3.connect(site.folder / "state/vagent.sqlite") as store:
        (text,) = store.execute(
            "SELECT value FROM entry WHERE kind = ?", (KIND,)
        ).fetchone()
        value = json.loads(text)
        value[PROPERTY] = {"linklocal_service_entry": [entry("127.0.0.1", 8082)]}
        store.execute(
            "UPDATE entry SET value = ? WHERE kind = ?", (json.dumps(value), KIND)
        )
    store.close()
    site.agent.start()
    (left,) = not_in_force(site)
    assert ("echo", "own-server") == (left["linklocal_service_name"], left["reason"])
    assert "" == answered(alice, "tcp", SERVICE4, 7)
    page = site.agent.get("http://127.0.0.1:8085/Snh_NotInForceListReq")
    assert "127.0.0.1 port 8082 is the config API" in page


def test_a_name_that_leads_there_is_not_used(zone: Path, site: Any) -> None:
    """Neither by the kernel nor by the metadata proxy; and that is said."""
    zone.write_text("127.0.0.1\n")
    alice = site.alice()
    site.introduce(alice)
    offer(site, 8082, "--ipfabric_dns_service_name", NAME)
    (pending,) = not_in_force(site)
    assert "unresolved" == pending["reason"]
    assert "127.0.0.1 port 8082 is the config API" in pending["detail"]
    assert "" == answered(alice, "tcp", SERVICE4, 7)
    assert f"Service echo: {NAME} is not used" in traced(site, "LinkLocal")

    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "metadata"),
        *("--linklocal_service_ip", "169.254.169.254"),
        *("--linklocal_service_port", "80", "--ipfabric_service_port", "9091"),
        *("--ipfabric_dns_service_name", NAME),
    )
    code = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "30")
    url = "http://169.254.169.254/ports"
    assert "503" == alice.machine.run(*code, url, check=False)
    assert f"upstream {NAME} is 127.0.0.1 port 9091" in traced(site, "Metadata")
    zone.write_text("0.0.0.0\n")
    assert "503" == alice.machine.run(*code, url, check=False)
    assert f"upstream {NAME} is 0.0.0.0 port 9091" in traced(site, "Metadata")
