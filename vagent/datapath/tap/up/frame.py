"""What the stages of from_tap share: the stack, and the keys of a frame."""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    CONTEXT,
    DROP,
    ETHERNET,
    FROM_MAC,
    MAC_SIZE,
    PASS,
    RESULT,
    STACK,
    TYPE_TAG,
    Helper,
    Skb,
    leave,
    look_up,
    network,
    put_wide,
    store_bytes,
    write_constant,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.kernel.bpf_assembler import Code, If, Op, Size

WHERE = 7
"""Register: the first eight bytes of the frame's place (interface, VLAN, family)."""

PLACE, TARGET, GUEST_KEY, VALUE, FRAME, MORE = -32, -48, -64, -80, -134, -200
SUM_FLAGS, END, NOW, NEW, STATE, QUOTED = -208, -216, -224, -240, -248, -280
MARKED = -288
HEADER = FRAME + ETHERNET
"""On the stack: the frame's place; the address that it is for; the key of the map
`guest`; a value of the map `refused`; the frame from its first byte on, of which HEADER
is the IP header; bytes from further behind; flags for the transport's checksum; where
the IP packet ends in the frame; the time; the identity address; scratch for the walk
through IPv6 headers; the place that an ICMP error quotes; the frame's mark."""

ADDRESS = PLACE + layout.PLACE_ADDRESS
UP, ANSWER, LET_PASS, STRANGER = "up", "answer", "pass", "stranger"
"""Labels of ends: send the frame to the host; send it back, with the VLAN tag in
register 8; let it pass; refuse it, because its place is not registered."""


def refused(reason: DropReason) -> str:
    """Label of the end of a frame that is dropped for this reason."""
    return f"refuse: {reason.name}"


def set_family(code: Code, family: int) -> None:
    """The frame's place is one of this IP version."""
    put_wide(code, 1, family << 8 * layout.PLACE_FAMILY)
    code.take(Op.ADD, WHERE, 1)


def write_mapped(code: Code, to: int, register: int) -> None:
    """Write the IPv4 address in a register as a mapped one. The register is lost."""
    code.store_number(Size.DOUBLE, STACK, to, 0)
    code.put(Op.LSH, register, 32)
    put_wide(code, 0, 0xFFFF << 16)
    code.take(Op.ADD, register, 0)
    code.store(Size.DOUBLE, STACK, to + 8, register)


def copy_address(code: Code, to: int, source: int) -> None:
    """Copy 16 bytes on the stack."""
    for half in (0, 8):
        code.load(Size.DOUBLE, 1, STACK, source + half)
        code.store(Size.DOUBLE, STACK, to + half, 1)


def write_keys(code: Code) -> None:
    """Write PLACE but for its address, and GUEST_KEY."""
    code.load(Size.HALF, 1, STACK, FRAME + FROM_MAC + 4)
    code.put(Op.LSH, 1, 32)
    code.load(Size.WORD, 2, STACK, FRAME + FROM_MAC)
    code.take(Op.ADD, 1, 2)
    code.store(Size.DOUBLE, STACK, PLACE, WHERE)
    code.store(Size.DOUBLE, STACK, PLACE + layout.PLACE_MAC, 1)
    # In the key of a guest the MAC address begins where a place has its family.
    code.put(Op.LSH, 2, 8 * layout.PLACE_FAMILY)
    code.take(Op.MOV, 3, WHERE)
    code.put(Op.LSH, 3, 16)
    code.put(Op.RSH, 3, 16)
    code.take(Op.ADD, 2, 3)
    code.store(Size.DOUBLE, STACK, GUEST_KEY, 2)
    code.put(Op.RSH, 1, 16)
    code.store(Size.DOUBLE, STACK, GUEST_KEY + 8, 1)


def find_probe(code: Code, maps: MapNumbers, absent: str) -> None:
    """RESULT = the probe that the frame is one of; jump where it is a guest's own. Of
    a guest's frames hardly one has a mark, and none the mark of a probe.
    """
    code.load(Size.WORD, 1, CONTEXT, Skb.MARK)
    code.jump_if(If.EQUAL, 1, 0, absent)
    code.store(Size.DOUBLE, STACK, MARKED, 1)
    look_up(code, maps.probe, MARKED)
    code.jump_if(If.EQUAL, RESULT, 0, absent)


def accept(code: Code, maps: MapNumbers, name: str) -> None:
    """Count the packet for its guest."""
    code.call(Helper.CLOCK)
    code.store(Size.DOUBLE, STACK, NOW, RESULT)
    look_up(code, maps.guest, GUEST_KEY)
    code.jump_if(If.EQUAL, RESULT, 0, f"{name}: accepted")
    code.put(Op.MOV, 1, 1)
    code.count(RESULT, layout.GUEST_PACKETS, 1)
    code.load(Size.DOUBLE, 1, STACK, NOW)
    code.store(Size.DOUBLE, RESULT, layout.GUEST_LAST, 1)
    for half in (0, 8):
        code.load(Size.DOUBLE, 1, STACK, ADDRESS + half)
        code.store(Size.DOUBLE, RESULT, layout.GUEST_LAST_ADDRESS + half, 1)
    code.label(f"{name}: accepted")


def ends(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """What all stages end with, but for drops.

    Nobody looks whether the rewriting before has failed: it can only for want of
    memory, and the rules of the host drop what has no identity or a wrong checksum.
    """
    code.label(UP)
    code.put(Op.MOV, 1, 0)
    code.store(Size.WORD, CONTEXT, Skb.MARK, 1)
    write_constant(code, VALUE, constants.host_mac)
    store_bytes(code, 0, VALUE, MAC_SIZE)
    pop_tag(code, UP)
    code.put(Op.MOV, 1, constants.guest_side)
    code.put(Op.MOV, 2, 0)
    code.call(Helper.REDIRECT)
    code.leave()
    code.label(ANSWER)
    store_bytes(code, 0, FRAME + FROM_MAC, MAC_SIZE)
    write_constant(code, VALUE, constants.service_mac)
    store_bytes(code, FROM_MAC, VALUE, MAC_SIZE)
    pop_tag(code, ANSWER)
    find_probe(code, maps, "answer a guest")
    code.put(Op.MOV, 1, 1)
    code.count(RESULT, layout.PROBE_ANSWERED, 1)
    code.load(Size.WORD, 1, RESULT, layout.PROBE_TAP)
    code.jump("answer there")
    code.label("answer a guest")
    code.jump_if(If.EQUAL, 8, 0, "answer untagged")
    code.take(Op.MOV, 1, CONTEXT)
    code.put(Op.MOV, 2, network(TYPE_TAG))
    code.take(Op.MOV, 3, 8)
    code.call(Helper.PUSH_TAG)
    code.label("answer untagged")
    code.load(Size.WORD, 1, CONTEXT, Skb.IFINDEX)
    code.label("answer there")
    code.put(Op.MOV, 2, 0)
    code.call(Helper.REDIRECT)
    code.leave()
    code.label(LET_PASS)
    find_probe(code, maps, "pass a guest's")
    code.store_number(Size.DOUBLE, RESULT, layout.PROBE_REFUSED, layout.NOT_FOR_SERVICE)
    leave(code, DROP)
    code.label("pass a guest's")
    leave(code, PASS)


def pop_tag(code: Code, name: str) -> None:
    """Take off the tag that the kernel keeps beside the frame."""
    code.load(Size.WORD, 1, CONTEXT, Skb.HAS_TAG)
    code.jump_if(If.EQUAL, 1, 0, f"{name}: no tag")
    code.take(Op.MOV, 1, CONTEXT)
    code.call(Helper.POP_TAG)
    code.label(f"{name}: no tag")
