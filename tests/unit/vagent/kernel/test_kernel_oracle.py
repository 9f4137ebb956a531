"""pyroute2 reads the netlink messages that we write, and we read those that it writes.

Others wrote it from the same kernel headers, so a number or a layout that is wrong in
one of the two shows here. The kernel itself is asked in the system tests.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    rtnl,
)
from pyroute2.netlink.nfnetlink import (
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_NFTABLES,
    nfgen_msg,
    nftsocket,
)
from pyroute2.netlink.nfnetlink.nfctsocket import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    IPCTNL_MSG_CT_NEW,
    nfct_msg,
)
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_DELSETELEM,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSETELEM,
)
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from vagent.config.model import DataPathConfig
from vagent.datapath.names import Names
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.state import Attachment
from vagent.kernel import conntrack, nf_tables, rtnl_link, rtnl_route, tc
from vagent.kernel.conntrack import Tracked, Traffic, Tuple
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket
from vagent.kernel.netlink import NETLINK_ROUTE, Acknowledgement
from vagent.kernel.nf_tables import IPV4, Element, NftMessage
from vagent.kernel.rtnl_link import LinkChange
from vagent.kernel.rtnl_route import (
    AddressRoute,
    Hop,
    delete_address_routes,
    set_address_routes,
)

GUEST, SERVICE = "169.254.64.2", "169.254.1.53"
DNS, HOST = "192.0.2.53", "192.0.2.1"
NAMES = Names.of(DataPathConfig(), listener_port=8097, guest_rate=1000)
ALICE = Attachment(
    index=2,
    identity=IPv4Address(GUEST),
    tap="tap-alice",
    ifindex=11,
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.5"),
)
BATCH_BEGIN, BATCH_END = 16, 17
"""linux/netfilter/nfnetlink.h; pyroute2 has no name for them."""


def plain(value: Any) -> Any:
    """What pyroute2 found, as dictionaries: attributes beside fields, headers out."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {
        name: each
        for name, each in value.items()
        if name not in ("attrs", "header", "__align")
    }
    return fields | {slot[0]: plain(slot[1]) for slot in value.get("attrs", ())}


def decoded(data: bytes, kind: type) -> tuple[int, int, Any]:
    """Type and flags of one message, and all that is in it."""
    message: Any = kind(data)
    message.decode()
    header = message["header"]
    assert (len(data), 0) == (header["length"], header["pid"])
    return header["type"], header["flags"], plain(message)


def encoded(kind: type, number: int, **fields: Any) -> bytes:
    """A message as pyroute2 writes it."""
    message: Any = kind()
    message["header"]["type"] = number
    for name, value in fields.items():
        message[name] = value
    message.encode()
    return bytes(message.data)


def nested(**attributes: Any) -> dict[str, list[tuple[str, Any]]]:
    """Attributes within an attribute."""
    return {"attrs": [*attributes.items()]}


def messages(batch: bytes) -> Iterator[bytes]:
    """The messages of a batch."""
    offset = 0
    while offset < len(batch):
        (length,) = struct.unpack_from("=I", batch, offset)
        yield batch[offset : offset + length]
        offset += (length + 3) & ~3


def transaction(steps: list[NftMessage]) -> list[tuple[int, int, Any]]:
    """The steps of a batch as pyroute2 reads them, numbers of nf_tables."""
    begin, *found, end = messages(bytes(nf_tables.encode(steps)))
    edge = {"nfgen_family": 0, "version": 0, "res_id": NFNL_SUBSYS_NFTABLES}
    assert (BATCH_BEGIN, NLM_F_REQUEST, edge) == decoded(begin, nfgen_msg)
    assert (BATCH_END, NLM_F_REQUEST, edge) == decoded(end, nfgen_msg)
    read = []
    for message in found:
        (number,) = struct.unpack_from("=H", message, 4)
        kinds = nftsocket.AsyncNFTSocket.policy
        kind, flags, content = decoded(message, kinds[number & 0xFF])
        assert NFNL_SUBSYS_NFTABLES == kind >> 8
        read.append((kind & 0xFF, flags, content))
    return read


def header(family: int) -> dict[str, int]:
    return {"nfgen_family": family, "version": 0, "res_id": 0}


def element(key: bytes, value: bytes) -> dict[str, Any]:
    return {
        "NFTA_SET_ELEM_KEY": {"NFTA_DATA_VALUE": key},
        "NFTA_SET_ELEM_DATA": {"NFTA_DATA_VALUE": value},
    }


def expression(name: str, **attributes: Any) -> dict[str, Any]:
    return {"NFTA_EXPR_NAME": name, "NFTA_EXPR_DATA": attributes}


def verdict(code: str, **chain: str) -> dict[str, Any]:
    return expression(
        "immediate",
        NFTA_IMMEDIATE_DREG="NFT_REG_VERDICT",
        NFTA_IMMEDIATE_DATA={"NFTA_DATA_VERDICT": {"NFTA_VERDICT_CODE": code, **chain}},
    )


@pytest.mark.parametrize("comes", [True, False])
def test_a_port_with_several_addresses(*, comes: bool) -> None:
    """Its element of the map that leads to its first index; the last step is
    acknowledged.
    """
    further = replace(ALICE, index=9, port=2)
    change = ([], [further]) if comes else ([further], [])
    read = transaction(change_of_ports(NAMES, *change, ipv6=False))
    content = (struct.pack("!H", 9), struct.pack("=I", 2))
    kind = NFT_MSG_NEWSETELEM if comes else NFT_MSG_DELSETELEM
    created = NLM_F_CREATE if comes else 0
    assert [
        (
            kind,
            NLM_F_REQUEST | created | NLM_F_ACK,
            {
                **header(IPV4),
                "NFTA_SET_ELEM_LIST_TABLE": "vagent",
                "NFTA_SET_ELEM_LIST_SET": "port_of",
                "NFTA_SET_ELEM_LIST_ELEMENTS": [element(*content)],
            },
        )
    ] == read


@given(st.lists(st.tuples(st.binary(min_size=1), st.binary(min_size=1)), min_size=1))
def test_any_elements(pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever the lengths are, which decide on padding."""
    steps = nf_tables.add_elements("t", "m", [Element(*pair, "x") for pair in pairs])
    ((_kind, _flags, content),) = transaction(steps)
    assert [element(*pair) for pair in pairs] == content["NFTA_SET_ELEM_LIST_ELEMENTS"]


def test_the_queue_rule() -> None:
    """The iptables target: revision 3, queue 8097, one queue, no flags."""
    steps = nf_tables.insert_rule(2, "t", "to_agent", nf_tables.xt_queue(8097))
    info = ":".join(f"{byte:02x}" for byte in struct.pack("=HHH", 8097, 1, 0))
    target = expression(
        "target",
        NFTA_TARGET_NAME="NFQUEUE",
        NFTA_TARGET_REV=3,
        NFTA_TARGET_INFO=info,
    )
    ((kind, _flags, content),) = transaction(steps)
    assert (NFT_MSG_NEWRULE, [target]) == (kind, content["NFTA_RULE_EXPRESSIONS"])


def flow(source: str, destination: str, ports: tuple[int, int], protocol: int) -> Any:
    """A direction of a flow, as pyroute2 has it."""
    family = "V6" if ":" in source else "V4"
    return {
        "CTA_TUPLE_IP": {
            f"CTA_IP_{family}_SRC": source,
            f"CTA_IP_{family}_DST": destination,
        },
        "CTA_TUPLE_PROTO": {
            "CTA_PROTO_NUM": protocol,
            "CTA_PROTO_SRC_PORT": ports[0],
            "CTA_PROTO_DST_PORT": ports[1],
        },
    }


def opening(source: str, destination: str, protocol: int) -> OpeningPacket:
    ends = [ip_address(source), ip_address(destination)]
    return OpeningPacket(
        protocol, int(ends[0]), int(ends[1]), 4000, 53, version=ends[0].version
    )


@pytest.mark.parametrize(
    ("family", "source", "destination"),
    [
        (socket.AF_INET, GUEST, SERVICE),
        (socket.AF_INET6, "fd40:140:2::1", "fd00:ec2::254"),
    ],
)
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_flow_is_asked_for_and_kept(
    family: int, source: str, destination: str, protocol: int
) -> None:
    """By its opening tuple; kept with status, time-out and, for TCP, liberal flags."""
    packet = opening(source, destination, protocol)
    number = NFNL_SUBSYS_CTNETLINK << 8
    asked = {
        **header(family),
        "CTA_TUPLE_ORIG": flow(source, destination, (4000, 53), protocol),
    }
    found = decoded(conntrack.encode_find(packet), nfct_msg)
    assert (number | IPCTNL_MSG_CT_GET, NLM_F_REQUEST, asked) == found
    liberal = {
        "CTA_PROTOINFO_TCP_FLAGS_ORIGINAL": (8, 8),
        "CTA_PROTOINFO_TCP_FLAGS_REPLY": (8, 8),
    }
    kept = {**asked, "CTA_STATUS": 0x6, "CTA_TIMEOUT": 30}
    if protocol == TCP:
        kept["CTA_PROTOINFO"] = {"CTA_PROTOINFO_TCP": liberal}
    found = decoded(conntrack.encode_keep(packet, 0x2, 30), nfct_msg)
    assert (number | IPCTNL_MSG_CT_NEW, NLM_F_REQUEST | NLM_F_ACK, kept) == found


def test_flows_are_listed_and_ended_by_their_mark() -> None:
    """Listed are those that were translated."""
    number = NFNL_SUBSYS_CTNETLINK << 8
    mark = {"CTA_MARK": 0x30000, "CTA_MARK_MASK": 0xFFFF0000}
    ended = decoded(conntrack.encode_end(0x30000, 0xFFFF0000), nfct_msg)
    flags = NLM_F_REQUEST | NLM_F_ACK
    assert (number | IPCTNL_MSG_CT_DELETE, flags, {**header(0), **mark}) == ended
    status = {"CTA_STATUS": 0x20, "CTA_STATUS_MASK": 0x20}
    listed = conntrack.encode_dump(family=0, mark=0x30000, mask=0xFFFF0000)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    expected = (number | IPCTNL_MSG_CT_GET, flags, {**header(0), **status, **mark})
    assert expected == decoded(listed, nfct_msg)


def written(value: Any) -> Any:
    """Dictionaries as pyroute2 wants attributes in attributes."""
    if not isinstance(value, dict):
        return value
    return nested(**{name: written(each) for name, each in value.items()})


@pytest.mark.parametrize(
    ("source", "destination"), [(GUEST, SERVICE), ("fd40:140:2::1", "fd00:ec2::254")]
)
def test_a_flow_that_is_told(source: str, destination: str) -> None:
    """Everything that we read of one."""
    told = {
        "CTA_TUPLE_ORIG": flow(source, destination, (4000, 53), TCP),
        "CTA_TUPLE_REPLY": flow(destination, source, (53, 4000), TCP),
        "CTA_STATUS": 0x2E,
        "CTA_PROTOINFO": {"CTA_PROTOINFO_TCP": {"CTA_PROTOINFO_TCP_STATE": 3}},
        "CTA_TIMEOUT": 77,
        "CTA_MARK": 0x30002,
        "CTA_COUNTERS_ORIG": {"CTA_COUNTERS_PACKETS": 5, "CTA_COUNTERS_BYTES": 500},
        "CTA_COUNTERS_REPLY": {"CTA_COUNTERS_PACKETS": 6, "CTA_COUNTERS_BYTES": 600},
        "CTA_ID": 99,
        "CTA_TIMESTAMP": {"CTA_TIMESTAMP_START": 123},
    }
    data = encoded(
        nfct_msg,
        NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW,
        nfgen_family=socket.AF_INET6 if ":" in source else socket.AF_INET,
        **written(told),
    )
    one, other = ip_address(source), ip_address(destination)
    expected = Tracked(
        id=99,
        mark=0x30002,
        original=Tuple(TCP, one, other, 4000, 53),
        reply=Tuple(TCP, other, one, 53, 4000),
        status=0x2E,
        timeout=77,
        tcp_state=3,
        sent=Traffic(5, 500),
        received=Traffic(6, 600),
        start=123,
    )
    assert ([expected], False) == conntrack.decode_part(data)


def test_interfaces() -> None:
    """The question for one, and what the kernel announces of them."""
    kind, flags, content = decoded(rtnl_link.encode_question("tap7"), ifinfmsg)
    assert (rtnl.RTM_GETLINK, NLM_F_REQUEST) == (kind, flags)
    assert (0, "tap7") == (content["index"], content["IFLA_IFNAME"])
    told = {"index": 7, **nested(IFLA_IFNAME="tap7", IFLA_LINK=3)}
    new = encoded(ifinfmsg, rtnl.RTM_NEWLINK, **told)
    gone = encoded(ifinfmsg, rtnl.RTM_DELLINK, **told)
    assert 3 == rtnl_link.linked_in(new)
    assert [
        LinkChange(7, "tap7", is_gone=False),
        LinkChange(7, "tap7", is_gone=True),
    ] == [*rtnl_link.links_in(new + gone)]


def test_the_way_of_a_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked by source, destination and interface; the answers of route and link."""
    questions: list[bytes] = []
    metrics = nested(RTAX_MTU=1400)
    answers = [
        encoded(
            rtmsg,
            rtnl.RTM_NEWROUTE,
            family=socket.AF_INET,
            type=1,
            **nested(RTA_OIF=9, RTA_GATEWAY=HOST, RTA_METRICS=metrics),
        ),
        encoded(
            ifinfmsg,
            rtnl.RTM_NEWLINK,
            index=9,
            ifi_type=1,
            flags=1,
            **nested(IFLA_MTU=1500),
        ),
    ]

    def ask(question: bytes, _what: str, _protocol: int) -> bytes:
        questions.append(question)
        return answers[len(questions) - 1]

    monkeypatch.setattr(rtnl_route, "ask", ask)
    found = rtnl_route.hop(IPv4Address(GUEST), IPv4Address(DNS), 4)
    assert Hop(9, IPv4Address(HOST), 1400) == found
    kind, flags, content = decoded(questions[0], rtmsg)
    assert (rtnl.RTM_GETROUTE, NLM_F_REQUEST) == (kind, flags)
    route = {"family": socket.AF_INET, "dst_len": 32, "src_len": 32}
    ways = {"RTA_DST": DNS, "RTA_SRC": GUEST, "RTA_IIF": 4}
    assert route | ways == {name: content[name] for name in route | ways}
    kind, flags, content = decoded(questions[1], ifinfmsg)
    assert (rtnl.RTM_GETLINK, NLM_F_REQUEST, 9) == (kind, flags, content["index"])


@pytest.mark.parametrize(
    ("destination", "source", "family"),
    [(GUEST, HOST, socket.AF_INET), ("fd00::2", "fd00::1", socket.AF_INET6)],
)
def test_a_route_to_one_address(
    monkeypatch: pytest.MonkeyPatch, destination: str, source: str, family: int
) -> None:
    """Set by way of an interface, with its MTU, in the place of another; and deleted
    whatever its type and source.
    """
    sent: list[tuple[bytes, int]] = []

    def transact(batch: bytes, protocol: int) -> list[Acknowledgement]:
        sent.append((batch, protocol))
        return [Acknowledgement(0, errno.ESRCH)] if len(sent) > 1 else []

    monkeypatch.setattr(rtnl_route, "transact_batch", transact)
    to = ip_address(destination)
    set_address_routes(
        [AddressRoute(to, 9, 1280, ip_address(source)), AddressRoute(to, 9, 65)]
    )
    delete_address_routes([to], 9)
    assert [NETLINK_ROUTE] * 2 == [protocol for _, protocol in sent]
    first, second = (decoded(each, rtmsg) for each in messages(sent[0][0]))
    wanted = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
    assert [(rtnl.RTM_NEWROUTE, wanted)] * 2 == [first[:2], second[:2]]
    address = {"family": family, "dst_len": to.max_prefixlen, "src_len": 0, "tos": 0}
    route = address | {"table": 254, "proto": 2, "scope": 253, "type": 1, "flags": 0}
    ways = {"RTA_DST": destination, "RTA_OIF": 9}
    metrics = {"RTA_METRICS": {"RTAX_MTU": 1280}, "RTA_PREFSRC": source}
    assert route | ways | metrics == first[2]
    assert route | ways | {"RTA_METRICS": {"RTAX_MTU": 65}} == second[2]
    kind, flags, content = decoded(sent[1][0], rtmsg)
    assert (rtnl.RTM_DELROUTE, NLM_F_REQUEST) == (kind, flags)
    any_of = {"table": 254, "proto": 0, "scope": 255, "type": 0, "flags": 0}
    assert address | any_of | ways == content


def test_programs_at_a_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is put below the discipline that is there, else below one that is added;
    the questions for both, and the end.
    """
    sent: list[bytes] = []
    filters: list[tuple[int, bytes]] = []
    answers = [errno.EINVAL] * len(tc.FIRST) + [0, 0, 0]

    def attempt(message: bytes, _what: str, _protocol: int) -> int:
        sent.append(message)
        return answers.pop(0)

    def dump(
        question: bytes, _what: str, _protocol: int
    ) -> Iterator[tuple[int, bytes]]:
        sent.append(question)
        return iter(filters)

    monkeypatch.setattr(tc, "attempt", attempt)
    monkeypatch.setattr(tc, "dump", dump)
    tc.attach(7, 33, handle=5, name="vagent", is_first=True)
    filters.append((rtnl.RTM_NEWTFILTER, sent[-1][16:]))
    assert tc.detach(7, handle=5, name="vagent")
    filters[:] = [(rtnl.RTM_NEWQDISC, sent[-4][16:])]
    assert [7] == list(tc.attached())
    told = [
        encoded(tcmsg, kind, index=each, parent=parent, **nested(TCA_KIND="ingress"))
        for kind, each, parent in [
            (rtnl.RTM_NEWQDISC, 8, rtnl.TC_H_CLSACT),
            (rtnl.RTM_NEWQDISC, 9, rtnl.TC_H_ROOT),
            (rtnl.RTM_NEWTFILTER, 9, rtnl.TC_H_CLSACT),
            (rtnl.RTM_DELQDISC, 7, rtnl.TC_H_CLSACT),
        ]
    ]
    assert [(8, False), (7, True)] == [*tc.discipline_changes_in(b"".join(told))]
    del sent[1 : len(tc.FIRST)]
    read = [decoded(message, tcmsg) for message in sent]
    new = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
    listing = NLM_F_REQUEST | NLM_F_DUMP
    assert [
        (rtnl.RTM_GETTFILTER, listing),
        (rtnl.RTM_NEWTFILTER, new),
        (rtnl.RTM_NEWQDISC, new | NLM_F_EXCL),
        (rtnl.RTM_NEWTFILTER, new),
        (rtnl.RTM_GETTFILTER, listing),
        (rtnl.RTM_DELTFILTER, NLM_F_REQUEST | NLM_F_ACK),
        (rtnl.RTM_GETQDISC, listing),
    ] == [(kind, flags) for kind, flags, _content in read]
    _, _, qdisc, ours, _, gone, _ = [content for _, _, content in read]
    assert (7, rtnl.TC_H_CLSACT, "ingress") == (
        *(qdisc["index"], qdisc["parent"]),
        qdisc["TCA_KIND"],
    )
    priority = tc.FIRST[0] << 16 | socket.htons(0x0003)
    place = {"index": 7, "handle": 5, "info": priority, "TCA_KIND": "bpf"}
    for content in (ours, gone):
        assert place == {name: content[name] for name in place}
        assert rtnl.TC_H_CLSACT & 0xFFFF0000 | 0xFFF2 == content["parent"]
    assert {
        "TCA_BPF_FD": 33,
        "TCA_BPF_NAME": "vagent",
        "TCA_BPF_FLAGS": 1,
    } == ours["TCA_OPTIONS"]
