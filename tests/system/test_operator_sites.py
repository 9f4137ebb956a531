"""The operator's three sites by the names of this host, with a real agent."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.agent import configuration

pytestmark = pytest.mark.system

SITES = ("9091/ports", "8082/", "8085/healthz")
STATUS = ("-o", "/dev/null", "-w", "%{http_code}")


def test_all_three_answer_to_the_same_names(idle_site: Any) -> None:
    """The host's own name and those of agent.conf, and no other."""
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra="<operator-host-names>api.example.net</operator-host-names>",
    )
    idle_site.agent.start()

    def status(site: str, field: str) -> str:
        url = f"http://127.0.0.1:{site}"
        return str(idle_site.agent.get(url, *STATUS, "-H", field))

    for site in SITES:
        for name in (socket.gethostname(), "API.example.net", "localhost"):
            assert "200" == status(site, f"Host: {name}")
        assert "421" == status(site, "Host: evil.example")
        assert "403" == status(site, "Origin: http://evil.example")


def test_the_fqdn_as_the_system_tells_it(tmp_path: Path) -> None:
    """What `hostname --fqdn` says, here from a hosts file with the full name first."""
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n10.9.8.7 compute-7.dc.example.net compute-7\n"
    )
    script = (
        f"mount --bind {hosts} /etc/hosts && hostname compute-7 &&"
        f" exec {sys.executable} -c 'import socket;"
        " from vagent.web.own_names import fqdn_of;"
        " print(fqdn_of(socket.gethostname()))'"
    )
    shell = ["unshare", "--mount", "--uts", "sh", "-c", script]
    done = subprocess.run(shell, check=True, capture_output=True, text=True)
    assert "compute-7.dc.example.net\n" == done.stdout
