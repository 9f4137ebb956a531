"""Prints what the agent's own probe finds in this kernel.

Exits 1 unless it finds every feature that is named as an argument, so that a trial
cannot pass on a kernel that is not the one it was made for.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.threads import deferToThread

from vagent.datapath.rules.features import probe
from vagent.datapath.system import LinuxSystem


async def _show(reactor: Any, *wanted: str) -> None:
    system = LinuxSystem(reactor=reactor, clock=reactor, run_in_thread=deferToThread)
    features = await probe(system, "vagent")
    print(features)
    if not all(getattr(features, name) for name in wanted):
        raise SystemExit(1)


if __name__ == "__main__":
    task.react(_show, sys.argv[1:])
