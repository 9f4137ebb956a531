"""Proxies to measure: ours alone, and haproxy doing the same work. Knows no figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.clients.crowd import Member
from bench.scene.stage import LOOPBACK, NGINX, Contestant, Stage, Upstream
from lab.agent import SECRET

UNLIMITED = "--unlimited"
"""Of our proxy: one guest asks more here than all of a host's guests do."""


def loopback_proxy(
    stage: Stage,
    port: int,
    upstream: Upstream,
    *options: str,
    name: str = "vagent",
    crowd: Sequence[Member] = (),
) -> Contestant:
    """Start our proxy alone, on loopback; it knows this crowd and the stage's guest."""
    process = stage.start(
        f"proxy-{port}",
        stage.cpus.contestant,
        [
            *(sys.executable, "-m", "bench.scene.loopback_proxy", "--port", str(port)),
            *("--upstream", str(upstream.port), "--secret", SECRET),
            *("--crowd", str(stage.everyone(crowd)), *options),
            *(["--tls", *stage.client_tls()] if upstream.tls else []),
        ],
    )
    return stage.contestant(name, f"http://{LOOPBACK}:{port}", process)


def haproxy(stage: Stage, address: str, port: int, *, tls: bool) -> Contestant:
    """Start haproxy at this address of the host; its upstream is nginx."""
    cert, key, ca = stage.client_tls()
    pair = stage.folder / "haproxy.pem"
    pair.touch(mode=0o600)
    pair.write_text(Path(cert).read_text() + Path(key).read_text())
    conf = stage.render(
        "haproxy.cfg.in",
        f"haproxy-{port}.cfg",
        address=address,
        port=port,
        upstream_port=NGINX[tls].port,
        tls=f"ssl crt {pair} ca-file {ca} verify required"
        " sni str(localhost) verifyhost localhost"
        if tls
        else "",
        **stage.identity(),
    )
    process = stage.start(
        f"haproxy-{port}", stage.cpus.contestant, ["haproxy", "-db", "-f", str(conf)]
    )
    return stage.contestant("haproxy", f"http://{address}:{port}", process)
