"""haproxy's configuration as Neutron writes it. A process of its own.

Runs in Neutron's environment. `network` is the haproxy in front of the agent's socket,
one for each network or router; `host` is the newer kind that needs no agent: one for a
host, which knows each guest by its address and adds the identity headers by itself.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from neutron.agent.l2.extensions.metadata import host_metadata_proxy
from neutron.agent.metadata import driver
from neutron.conf.agent.metadata import config as options
from neutron.conf.plugins.ml2.drivers import ovs_conf
from oslo_config import cfg
from oslo_log import log

from bench.clients.crowd import load

USER = GROUP = "root"
CONNECTIONS = 1024
"""As Neutron sets it."""


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("network", "host"))
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--network", default="", help="its UUID")
    parser.add_argument("--socket", default="", help="of the agent")
    parser.add_argument("--nova", default="", help="address:port")
    parser.add_argument("--secret", default="")
    parser.add_argument("--crowd", type=Path)
    asked = parser.parse_args()
    print(_network(asked) if asked.kind == "network" else _host(asked))


def _network(asked: argparse.Namespace) -> str:
    conf = cfg.CONF
    log.register_options(conf)
    options.register_meta_conf_opts(
        options.METADATA_RATE_LIMITING_OPTS, conf, options.RATE_LIMITING_GROUP
    )
    options.register_meta_conf_opts(
        options.METADATA_HAPROXY_OPTS, conf, options.HAPROXY_GROUP
    )
    conf([])
    written: Any = driver.HaproxyConfigurator(
        network_id=asked.network,
        router_id=None,
        unix_socket_path=asked.socket,
        host=asked.address,
        port=asked.port,
        user=USER,
        group=GROUP,
        state_path=None,
        pid_file=os.devnull,
        rate_limiting_config=conf.metadata_rate_limiting,
        haproxy_config=conf.metadata_haproxy,
    )
    return str(written.haproxy_cfg)


def _host(asked: argparse.Namespace) -> str:
    ovs_conf.register_ovs_agent_opts()
    cfg.CONF([])
    cfg.CONF.set_override("metadata_proxy_shared_secret", asked.secret, "METADATA")
    guests = [
        host_metadata_proxy.ProxyInstance(
            member.instance_id, member.address, member.tenant_id
        )
        for member in load(asked.crowd)
    ]
    template: Any = host_metadata_proxy._HOST_PATH_PROXY_TEMPLATE
    # It listens on all addresses, which the other contestants' ports do not mind.
    text: str = template.render(
        log_level="info",
        log_tag="haproxy",
        user=USER,
        group=GROUP,
        maxconn=CONNECTIONS,
        bind_port=asked.port,
        instance_list=guests,
        meta_api=asked.nova,
    )
    return text


if __name__ == "__main__":
    main()
