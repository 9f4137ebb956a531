"""The program that sends a probe's frames through a tap's own program.

It stands at the ingress of the probe's interface, before all others there, and puts
what is for one service into the ingress of a guest's tap, with a mark by which
from_tap knows it and with the guest's VLAN tag. All else of the probe is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from vagent.datapath.tap.idioms import (
    CONTEXT,
    DROP,
    ETHERNET,
    STACK,
    TYPE,
    TYPE_ARP,
    TYPE_IPV4,
    TYPE_SERVICE_TAG,
    TYPE_TAG,
    Helper,
    Skb,
    leave,
    load_bytes,
    network,
)
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_TO_INGRESS = 1
"""Flag of REDIRECT (linux/bpf.h, BPF_F_INGRESS)."""
_HEADER, _ADDRESS = -16, -32
"""On the stack."""
_ARP_TARGET, _DESTINATION = ETHERNET + 24, ETHERNET + 16


@dataclass(frozen=True, slots=True)
class ProbePath:
    """Where a probe's frames go in: a tap, by interface index, with a mark and a VLAN
    tag (0 for none; of 802.1ad with `is_service_tag`). `service` is what they are for.
    """

    tap: int
    mark: int
    service: IPv4Address
    vlan: int = 0
    is_service_tag: bool = False


def probe_up(path: ProbePath) -> bytes:
    """The program as bytes."""
    code = Code()
    code.take(Op.MOV, CONTEXT, 1)
    load_bytes(code, 0, _HEADER, ETHERNET, "drop")
    code.load(Size.HALF, 1, STACK, _HEADER + TYPE)
    code.put(Op.MOV, 2, _DESTINATION)
    code.jump_if(If.EQUAL, 1, network(TYPE_IPV4), "address")
    code.put(Op.MOV, 2, _ARP_TARGET)
    code.jump_if(If.UNEQUAL, 1, network(TYPE_ARP), "drop")
    code.label("address")
    _check_address(code, path.service)
    code.put(Op.MOV, 1, path.mark)
    code.store(Size.WORD, CONTEXT, Skb.MARK, 1)
    if path.vlan or path.is_service_tag:
        kind = TYPE_SERVICE_TAG if path.is_service_tag else TYPE_TAG
        code.take(Op.MOV, 1, CONTEXT)
        code.put(Op.MOV, 2, network(kind))
        code.put(Op.MOV, 3, path.vlan)
        code.call(Helper.PUSH_TAG)
    code.put(Op.MOV, 1, path.tap)
    code.put(Op.MOV, 2, _TO_INGRESS)
    code.call(Helper.REDIRECT)
    code.leave()
    code.label("drop")
    leave(code, DROP)
    return code.assembled()


def _check_address(code: Code, service: IPv4Address) -> None:
    """Register 2 is where in the frame the address is that it is for."""
    code.take(Op.MOV, 1, CONTEXT)
    code.take(Op.MOV, 3, STACK)
    code.put(Op.ADD, 3, _ADDRESS)
    code.put(Op.MOV, 4, 4)
    code.call(Helper.LOAD_BYTES)
    code.jump_if(If.UNEQUAL, 0, 0, "drop")
    for at in (0, 2):
        wanted = int.from_bytes(service.packed[at : at + 2], "little")
        code.load(Size.HALF, 1, STACK, _ADDRESS + at)
        code.jump_if(If.UNEQUAL, 1, wanted, "drop")
