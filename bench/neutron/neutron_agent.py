"""Neutron's own metadata agent, all but its look-up of a port. A process of its own.

Runs in Neutron's environment, which has nothing of ours. The agent would ask
neutron-server over a message queue who has an address, at each request; here a
dictionary answers, at once and for nothing, so what is measured is the best it can do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neutron.agent import metadata_agent
from neutron.agent.metadata import agent, proxy_base

from bench.clients.crowd import Member, load

Ports = list[dict[str, str]]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--folder", required=True, help="without other configuration")
    parser.add_argument("--crowd", type=Path, required=True)
    parser.add_argument("--backlog", type=int, help="of its socket; Neutron's way: 5")
    options = parser.parse_args()
    by_address = {member.address: _port(member) for member in load(options.crowd)}

    def get_ports(_api: Any, _context: Any, port_filters: Mapping[str, Any]) -> Ports:
        wanted = port_filters["fixed_ips"]["ip_address"]
        return [by_address[address] for address in wanted if address in by_address]

    agent.MetadataPluginAPI.get_ports = get_ports
    if options.backlog:
        proxy_base.MetadataProxyServer.request_queue_size = options.backlog
    sys.argv = [
        *("neutron-metadata-agent", "--config-file", options.config),
        *("--config-dir", options.folder),
    ]
    metadata_agent.main()


def _port(member: Member) -> dict[str, str]:
    return {"device_id": member.instance_id, "project_id": member.tenant_id}


if __name__ == "__main__":
    main()
