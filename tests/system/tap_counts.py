"""What the tap programs of a running agent have counted: reads their pinned maps."""

from __future__ import annotations

import socket
from pathlib import Path

from lab.namespaces import Machine, inside
from vagent.datapath.tap import layout
from vagent.datapath.tap.layout import MAPS, DropReason
from vagent.kernel import tc, tcx
from vagent.kernel.bpf import BpfMap


def pinned_map(bpf_files: Path, name: str, agent: str = "vagent") -> BpfMap:
    """A map of the agent with this data path's name, below a machine's /sys/fs/bpf."""
    form = MAPS[name]
    path = bpf_files / agent / f"{name}_{layout.VERSION}"
    assert path.exists(), path
    return BpfMap(
        form.kind, key=form.key, value=form.value, entries=form.entries, pinned=path
    )


def programs_at(machine: Machine, interface: str) -> int:
    """How many programs an interface has at its ingress: by tcx, and our filters."""

    def count() -> int:
        ifindex = socket.if_nametoindex(interface)
        filters = [each for each in tc.filters(ifindex) if each.name == "vagent"]
        return len(filters) + (len(tcx.attached(ifindex)) if tcx.is_known() else 0)

    return inside(machine.name, count)


def detach_programs(machine: Machine, interface: str) -> None:
    """Take ours away as somebody else may."""

    def detach() -> None:
        ifindex = socket.if_nametoindex(interface)
        for each in [*tc.filters(ifindex)]:
            if each.name == "vagent":
                tc.detach(ifindex, handle=each.handle, name=each.name)

    inside(machine.name, detach)


def tap_drops(bpf_files: Path) -> dict[str, int]:
    """Frames by DropReason's word: of guests, of strangers at taps, towards guests."""
    total = [0] * layout.REASONS
    for name, at in (("guest", layout.GUEST_DROPS), ("tap", 0)):
        held = pinned_map(bpf_files, name)
        for _, value in held.elements():
            for reason, number in enumerate(layout.decode_drops(value[at:])):
                total[reason] += number
        held.close()
    lost = pinned_map(bpf_files, "lost")
    for reason in DropReason:
        found = lost.read(layout.encode_number(reason))
        total[reason] += int.from_bytes(found or b"", "little")
    lost.close()
    return {reason.word: total[reason] for reason in DropReason}
