"""The kernel's side of the taps as the configuration asks for it, with the fast path's
where that is on.
"""

from __future__ import annotations

from functools import partial

from vagent.config.model import DataPathConfig, TapPriority
from vagent.datapath.fast_path.kernel import MAPS
from vagent.datapath.fast_path.program import at_fabric
from vagent.datapath.tap.attach import IngressHook, ingress_hook
from vagent.datapath.tap.kernel import LinuxTapKernel
from vagent.datapath.tap.layout import MapNumbers


def ingress_hook_of(config: DataPathConfig) -> IngressHook:
    """How programs get at an interface. A filter's handle is made of the queue's
    number, which is different for each agent of a host.

    By filters on every kernel: with tcx each attachment waits for a grace period of RCU
    with the lock of all interfaces held, 8 to 16 ms; a filter takes 0.1.
    """
    return ingress_hook(
        is_first=config.tap_priority is TapPriority.FIRST,
        handle=config.queue_number + 1,
        name=config.name,
        by_filters=True,
    )


def tap_kernel_of(config: DataPathConfig) -> LinuxTapKernel:
    """Programs and maps in this host's kernel."""

    def fabric(maps: MapNumbers) -> bytes:
        return at_fabric(entries=maps.entries, lease=maps.lease)

    return LinuxTapKernel(
        name=config.name,
        hook=partial(ingress_hook_of, config),
        more=MAPS if config.fast_path else None,
        fabric=fabric if config.fast_path else None,
    )
