"""Ports come and go: attachments become the messages of one nf_tables transaction.

`render` writes the same as text where everything is replaced; a test applies both to a
real kernel and compares. Pure: values in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from vagent.datapath.names import FROM_TAPS, PORT_OF, Names, tap_chain
from vagent.datapath.rules.tap_table import NETDEV_PRIORITY
from vagent.datapath.state import Attachment, Tag
from vagent.kernel.nf_tables import (
    INET,
    IPV4,
    MAX_ELEMENTS,
    NETDEV,
    Element,
    NftMessage,
    add_device_chain,
    add_elements,
    delete_chain,
    delete_elements,
)
from vagent.ports.identity import link_local_word

_HOST_ORDER, _BIG_ENDIAN = struct.Struct("=I"), struct.Struct("!I")
_TAP_AND_MAC = struct.Struct("16s6s2x")
"""An interface's name (IFNAMSIZ) and a MAC, padded to four bytes, in one key."""
_TAP_VLAN_AND_MAC = struct.Struct("!16sH2x6s2x")
_VLAN = struct.Struct("!H")

_ChangeElements = Callable[[str, str, Sequence[Element], int], list[NftMessage]]


def change_of_ports(
    names: Names,
    gone: Iterable[Attachment],
    come: Iterable[Attachment],
    kept_taps: frozenset[int],
    *,
    ipv6: bool,
) -> list[NftMessage]:
    """Take out what has gone, and put in what has come. The chains of `kept_taps`, by
    ifindex, are not touched: others are attached there before and after. `ipv6` says
    whether the host has IPv6.
    """
    families = {PORT_OF: INET if ipv6 else IPV4}
    gone, come = tuple(gone), tuple(come)
    table = names.table
    closed = {each.ifindex for each in gone} - kept_taps
    opened = {each.ifindex: each.tap for each in come if each.ifindex not in kept_taps}
    messages = _change(delete_elements, table, gone, families)
    for ifindex in sorted(closed):
        messages += delete_chain(table, tap_chain(ifindex))
    messages += _change(add_elements, table, come, families)
    for ifindex, tap in sorted(opened.items()):
        messages += add_device_chain(
            table, tap_chain(ifindex), tap, NETDEV_PRIORITY, FROM_TAPS
        )
    return messages


def _change(
    change: _ChangeElements,
    table: str,
    attachments: Sequence[Attachment],
    families: Mapping[str, int],
) -> list[NftMessage]:
    """In slices of MAX_ELEMENTS attachments, to save memory where there are many."""
    return [
        message
        for start in range(0, len(attachments), MAX_ELEMENTS)
        for message in _change_some(
            change, table, attachments[start : start + MAX_ELEMENTS], families
        )
    ]


def _change_some(
    change: _ChangeElements,
    table: str,
    attachments: Iterable[Attachment],
    families: Mapping[str, int],
) -> list[NftMessage]:
    by_map: dict[str, list[Element]] = {}
    for attachment in attachments:
        about = f"tap {attachment.tap}"
        for name, key, value in elements_of(attachment):
            by_map.setdefault(name, []).append(Element(key, value, about))
    return [
        message
        for name, elements in by_map.items()
        for message in change(table, name, elements, families.get(name, NETDEV))
    ]


def elements_of(attachment: Attachment) -> list[tuple[str, bytes, bytes]]:
    """Map, key and value of each element. Addresses and identities are in network byte
    order, marks and interface indexes in that of the host.
    """
    elements = (
        _untagged_elements(attachment)
        if attachment.tag is None
        else _tagged_elements(attachment, attachment.tag)
    )
    if attachment.port is not None:
        index = _BIG_ENDIAN.pack(attachment.index)
        elements.append((PORT_OF, index, _HOST_ORDER.pack(attachment.port)))
    return elements


def _untagged_elements(attachment: Attachment) -> list[tuple[str, bytes, bytes]]:
    mark = _HOST_ORDER.pack(attachment.index)
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    where = _TAP_AND_MAC.pack(attachment.tap.encode(), mac)
    elements: list[tuple[str, bytes, bytes]] = []
    if attachment.address is not None:
        address, identity = attachment.address.packed, attachment.identity.packed
        elements += [
            ("identity", where + address, identity),
            ("id_mark", identity, mark),
            ("mark_ip", mark, address),
        ]
    if attachment.address6 is not None:
        address, identity = attachment.address6.packed, attachment.identity6.packed
        elements += [
            ("identity6", where + address, identity),
            ("id6_mark", identity, mark),
            ("mark_ip6", mark, address),
        ]
    if attachment.takes_link_local:
        word = _BIG_ENDIAN.pack(link_local_word(attachment.index))
        elements += [
            ("link_local", where, word),
            ("link_local_mark", word, mark),
        ]
    return [
        *elements,
        ("mark_mac", mark, mac),
        ("mark_dev", mark, _HOST_ORDER.pack(attachment.ifindex)),
    ]


def _tagged_elements(
    attachment: Attachment, tag: Tag
) -> list[tuple[str, bytes, bytes]]:
    mark = _HOST_ORDER.pack(attachment.index)
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    where = _TAP_VLAN_AND_MAC.pack(attachment.tap.encode(), tag.sent, mac)
    elements: list[tuple[str, bytes, bytes]] = []
    if attachment.address is not None:
        address, identity = attachment.address.packed, attachment.identity.packed
        elements += [
            ("tagged", where + address, mark),
            ("mark_identity", mark, identity),
            ("id_mark", identity, mark),
            ("mark_ip", mark, address),
        ]
    if attachment.address6 is not None:
        address, identity = attachment.address6.packed, attachment.identity6.packed
        elements += [
            ("tagged6", where + address, mark),
            ("mark_identity6", mark, identity),
            ("id6_mark", identity, mark),
            ("mark_ip6", mark, address),
        ]
    if attachment.takes_link_local:
        word = _BIG_ENDIAN.pack(link_local_word(attachment.index))
        elements += [
            ("tagged_link_local", where, mark),
            ("mark_link_local", mark, word),
            ("link_local_mark", word, mark),
        ]
    return [
        *elements,
        ("mark_mac", mark, mac),
        ("mark_dev", mark, _HOST_ORDER.pack(tag.ifindex)),
        ("mark_vlan", mark, _VLAN.pack(tag.got)),
        ("mark_tap", mark, _HOST_ORDER.pack(attachment.ifindex)),
    ]
