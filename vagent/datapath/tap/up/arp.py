"""ARP from a guest: asked for a service, the program answers itself, by sending the
frame back as the reply. Nobody else may have a service's address. Where the guest's
port learns, its own address is told to the agent.
"""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    ETHERNET,
    FROM_MAC,
    MAC_SIZE,
    RESULT,
    STACK,
    Helper,
    load_bytes,
    look_up,
    network,
    put_wide,
    store_bytes,
    write_constant,
)
from vagent.datapath.tap.layout import Constants, DropReason, GuestFlag, MapNumbers
from vagent.datapath.tap.up.frame import (
    ADDRESS,
    ANSWER,
    FRAME,
    GUEST_KEY,
    LET_PASS,
    MORE,
    NEW,
    PLACE,
    TARGET,
    WHERE,
    find_probe,
    refused,
    set_family,
    write_keys,
    write_mapped,
)
from vagent.datapath.tap.up.refuse import remember
from vagent.kernel.bpf_assembler import Code, If, Op, Size

ARP_SIZE = 28
# Offsets in an ARP packet (RFC 826), with addresses of 6 and 4 bytes.
_SIZES, _OPERATION, _SENDER_MAC, _SENDER, _TARGET_MAC, _TARGET = 4, 6, 8, 14, 18, 24
_REQUEST, _REPLY = 1, 2


def arp(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """The stage for ARP."""
    code.label("arp")
    load_bytes(code, ETHERNET, MORE, ARP_SIZE, refused(DropReason.MALFORMED))
    code.load(Size.HALF, 1, STACK, MORE + _SIZES)
    code.jump_if(If.UNEQUAL, 1, network(0x0604), refused(DropReason.MALFORMED))
    set_family(code, 4)
    read_arp(code)
    look_up(code, maps.service, ADDRESS)
    code.jump_if(If.UNEQUAL, RESULT, 0, refused(DropReason.CLAIMED))
    _tell(code, maps)
    look_up(code, maps.service, TARGET)
    code.jump_if(If.EQUAL, RESULT, 0, LET_PASS)
    _check(code, maps)
    _answer(code, constants)


def read_arp(code: Code) -> None:
    """Write the sender's and the target's address of the packet at MORE."""
    code.load(Size.HALF, 1, STACK, MORE + _SENDER)
    code.load(Size.HALF, 2, STACK, MORE + _SENDER + 2)
    code.put(Op.LSH, 2, 16)
    code.take(Op.ADD, 1, 2)
    write_mapped(code, ADDRESS, 1)
    code.load(Size.WORD, 1, STACK, MORE + _TARGET)
    write_mapped(code, TARGET, 1)


def _check(code: Code, maps: MapNumbers) -> None:
    """Answer a request that is sent by the MAC address that asks, and a guest's.
    Register 8 is then the VLAN of the answer.
    """
    spoofed = refused(DropReason.SPOOFED)
    code.load(Size.HALF, 1, STACK, MORE + _OPERATION)
    code.jump_if(If.UNEQUAL, 1, network(_REQUEST), spoofed)
    _find_guest(code, maps, spoofed)
    code.load(Size.HALF, 8, RESULT, layout.GUEST_VLAN_GOT)


def _find_guest(code: Code, maps: MapNumbers, absent: str) -> None:
    """RESULT = the guest whose MAC address both frame and packet have."""
    for size, at in ((Size.WORD, 0), (Size.HALF, 4)):
        code.load(size, 1, STACK, MORE + _SENDER_MAC + at)
        code.load(size, 2, STACK, FRAME + FROM_MAC + at)
        code.jump_by(If.UNEQUAL, 1, 2, absent)
    write_keys(code)
    look_up(code, maps.guest, GUEST_KEY)
    code.jump_if(If.EQUAL, RESULT, 0, absent)


def _tell(code: Code, maps: MapNumbers) -> None:
    """Tell the sender's address, if it is not its port's, which learns. Replies count
    only as announcements (RFC 5227 3): a router replies for others, too.
    """
    done = "arp told"
    code.load(Size.HALF, 1, STACK, MORE + _OPERATION)
    code.jump_if(If.EQUAL, 1, network(_REQUEST), "arp says")
    code.jump_if(If.UNEQUAL, 1, network(_REPLY), done)
    code.load(Size.DOUBLE, 1, STACK, ADDRESS + 8)
    code.load(Size.DOUBLE, 2, STACK, TARGET + 8)
    code.jump_by(If.UNEQUAL, 1, 2, done)
    code.label("arp says")
    code.load(Size.WORD, 1, STACK, ADDRESS + 12)
    code.jump_if(If.EQUAL, 1, 0, done)  # a probe
    _find_guest(code, maps, done)
    code.load(Size.HALF, 1, RESULT, layout.GUEST_FLAGS)
    code.put(Op.AND, 1, GuestFlag.LEARNS)
    code.jump_if(If.EQUAL, 1, 0, done)
    code.load(Size.DOUBLE, 8, RESULT, layout.GUEST_LAST)
    look_up(code, maps.identity, PLACE)
    code.jump_if(If.UNEQUAL, RESULT, 0, done)
    code.jump_if(If.EQUAL, 8, 0, "arp tells")
    put_wide(code, 1, layout.SERVED_LATELY)
    code.take(Op.ADD, 8, 1)
    code.call(Helper.CLOCK)
    code.jump_by(If.LESS, RESULT, 8, done)
    code.label("arp tells")
    find_probe(code, maps, "a guest tells")
    code.jump(done)
    code.label("a guest tells")
    put_wide(code, 8, layout.ANNOUNCED << 8 * layout.PLACE_REASON)
    code.take(Op.ADD, 8, WHERE)
    code.store(Size.DOUBLE, STACK, PLACE, 8)
    remember(code, maps, "announcement", done)
    code.label(done)


def _answer(code: Code, constants: Constants) -> None:
    """What was the sender is the target, and the target is at the service's MAC."""
    write_constant(code, NEW, _REPLY.to_bytes(2, "big") + constants.service_mac)
    code.load(Size.WORD, 1, STACK, MORE + _TARGET)
    code.store(Size.DOUBLE, STACK, NEW + 8, 1)
    store_bytes(code, ETHERNET + _OPERATION, NEW, 2 + MAC_SIZE + 4)
    store_bytes(code, ETHERNET + _TARGET_MAC, MORE + _SENDER_MAC, MAC_SIZE + 4)
    code.jump(ANSWER)
