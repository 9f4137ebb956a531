"""Promises of vagent.ports.codec and members: strict, bounded, Contrail's texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from vagent.errors import WireError
from vagent.ports.codec import (
    decode_owner,
    decode_port,
    decode_ports,
    decode_record,
    describe,
    encode_record,
    pretty,
)
from vagent.ports.members import MAX_FURTHER, NIL
from vagent.ports.port import Port, PortOwner, PortTokens, Registration

Make = Callable[..., Any]
IDENTITY = IPv4Address("169.254.64.11")


def error_of(value: dict[str, Any]) -> str:
    with pytest.raises(WireError) as caught:
        decode_port(value)
    return str(caught.value)


def test_a_contrail_object_becomes_a_port(body: Make) -> None:
    """Every member of Contrail's POST /port is read, normalised and kept."""
    value = body(
        id="93C2C386-6E79-485E-BFA4-B9DAA713133B",
        mac_address="2:93:C2:c3:86:6e",
        ip6_address="2001:DB8::5",
        rx_vlan_id=7,
        tx_vlan_id=8,
        vhostuser_mode=1,
        author="/usr/bin/vrouter-port-control",
        time="2024-01-02 03:04:05.000006",
    )
    expected = Port(
        id="93c2c386-6e79-485e-bfa4-b9daa713133b",
        instance_id="32d0524b-314d-4594-b3a3-607e3f2354f8",
        tenant_id="00112233445566778899aabbccddeeff",
        network_id="12345678-1234-1234-1234-123456789abc",
        display_name="web-1",
        tap="tap93c2c386-6e",
        mac="02:93:c2:c3:86:6e",
        address=IPv4Address("10.0.0.5"),
        address6=IPv6Address("2001:db8::5"),
        rx_vlan=7,
        tx_vlan=8,
        vhostuser_mode=1,
        author="/usr/bin/vrouter-port-control",
        time="2024-01-02 03:04:05.000006",
    )
    assert expected == decode_port(value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("id", "data"),
        ("instance-id", "data"),
        ("vn-id", "data"),
        ("vm-project-id", "data"),
        ("display-name", "field"),
        ("ip-address", "field"),
        ("ip6-address", "field"),
        ("mac-address", "field"),
        ("system-name", "field"),
        ("type", "field"),
        ("rx-vlan-id", "field"),
        ("tx-vlan-id", "field"),
    ],
)
@pytest.mark.parametrize("wrong", [..., None, 1.0, True, [], {}])
def test_a_required_member_must_be_there_and_of_its_type(
    body: Make, name: str, kind: str, wrong: Any
) -> None:
    """A missing, null or mistyped member is refused with Contrail's text."""
    found = error_of(body(**{name.replace("-", "_"): wrong}))
    assert f"Invalid or missing {kind} for <{name}>" == found


@pytest.mark.parametrize("wrong", [None, "1", 1.0, False, 2**31, [], {}])
def test_an_optional_integer_is_never_an_error(body: Make, wrong: Any) -> None:
    """Contrail: what is no integer means the default. Its Python port API sends null
    as vhostuser-mode with every call.
    """
    port = decode_port(body(vhostuser_mode=wrong, link_state=wrong))
    assert (0, True) == (port.vhostuser_mode, port.link_up)
    assert not decode_port(body(type=2, link_state=wrong)).link_up


def test_a_port_file_with_null_as_vhostuser_mode_is_loaded(body: Make) -> None:
    """vrouter-port-control writes what it sends."""
    text = json.dumps(body(vhostuser_mode=None)).encode()
    assert 0 == decode_record(text).port.vhostuser_mode


def test_link_state_defaults_by_type(body: Make) -> None:
    """Contrail: up, but down for a remote port until it is enabled."""
    states = [decode_port(body(type=kind)).link_up for kind in (0, 1, 2)]
    assert states == [True, True, False]


def test_unknown_types_are_vm_ports(body: Make) -> None:
    """Contrail: any number but 1 and 2 is a VM port."""
    kinds = [decode_port(body(type=kind)).kind for kind in (-1, 0, 1, 2, 3, 2**31 - 1)]
    assert kinds == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("text", ["", "x", NIL, "not-a-uuid"])
def test_a_vm_port_needs_a_network(body: Make, text: str) -> None:
    """A nil or unreadable vn-id is refused for type 0 and nil for the others."""
    assert error_of(body(vn_id=text)) == "Invalid VN uuid"
    assert decode_port(body(vn_id=text, type=1)).network_id == NIL


@pytest.mark.parametrize("text", ["", "x", NIL + "0", NIL[:-1] + "g", "{" + NIL + "}"])
@pytest.mark.parametrize("name", ["id", "instance-id"])
def test_ids_must_be_uuids(body: Make, name: str, text: str) -> None:
    """The port and its instance are never nil by mistake."""
    found = error_of(body(**{name.replace("-", "_"): text}))
    assert found.startswith(f"Invalid or missing data for <{name}>")


def test_a_nil_port_id_is_refused(body: Make) -> None:
    """Contrail registers a nil port; nobody could tell it from another."""
    assert error_of(body(id=NIL)) == "Invalid or missing data for <id>"


@pytest.mark.parametrize(
    ("text", "tenant"),
    [
        ("00112233-4455-6677-8899-AABBCCDDEEFF", "00112233445566778899aabbccddeeff"),
        ("00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff"),
        ("", ""),
        ("None", ""),
        (NIL, ""),
    ],
)
def test_a_project_is_kept_as_nova_compares_it(
    body: Make, text: str, tenant: str
) -> None:
    """Dashed, plain, and vrouter-port-control's "" are read; dashes go."""
    assert tenant == decode_port(body(vm_project_id=text)).tenant_id


def test_a_project_that_is_none_is_refused(body: Make) -> None:
    """It would end up in X-Tenant-ID."""
    found = error_of(body(vm_project_id="admin"))
    assert found == "Invalid or missing data for <vm-project-id>"


@pytest.mark.parametrize(
    ("text", "contrail"),
    [
        ("Project 7/b", NIL),
        (
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            "00112233-4455-6677-8899-aabbccddeeff",
        ),
        ("x" * 255, NIL),
    ],
)
def test_a_project_letter_for_letter(body: Make, text: str, contrail: str) -> None:
    """Our own member goes before Contrail's, over a restart and in replies as well."""
    port = decode_port({**body(), "project-id": text})
    assert text == port.tenant_id
    registration = Registration(port, 11, IDENTITY)
    assert port == decode_record(encode_record(registration)).port
    reply = describe(registration, state="")
    assert (text, contrail) == (reply["project-id"], reply["vm-project-id"])


@pytest.mark.parametrize("text", ["", " a", "a ", "a\r\nX-Forwarded-For: b", "é", 5])
def test_a_project_that_no_header_could_carry(body: Make, text: object) -> None:
    """It is refused by name."""
    found = error_of({**body(), "project-id": text})
    assert found.endswith("for <project-id>")


@pytest.mark.parametrize(
    "text",
    ["", "None", "0.0.0.0", "10.0.0", "010.0.0.1", "::1", "127.0.0.1", "224.0.0.1",
     "255.255.255.255", "10.0.0.5/32", "10.0.0.5 "],
)  # fmt: skip
def test_an_ipv4_text_that_no_guest_can_have_is_unknown(body: Make, text: str) -> None:
    """Contrail takes bad text for 0.0.0.0 and goes on (its Port_Add_Invalid_Ip)."""
    assert decode_port(body(ip_address=text)).address is None


@pytest.mark.parametrize(
    "text",
    ["None", "::", "::1", "ff02::1", "10.0.0.5", 'fe80::1%e"; drop', "fe80::1%1"],
)
def test_an_ipv6_text_that_no_guest_can_have_is_unknown(body: Make, text: str) -> None:
    """Also a scope, which Python takes whatever it says."""
    assert decode_port(body(ip6_address=text)).address6 is None


@pytest.mark.parametrize("tap", ["t", "tap93c2c386-6e", "eth0.100", "a" * 15, "_x+1"])
def test_plain_tap_names_are_taken(body: Make, tap: str) -> None:
    """What Linux bridges, OVS, libvirt and Neutron call their taps."""
    assert tap == decode_port(body(system_name=tap)).tap


@pytest.mark.parametrize(
    "tap",
    ["", ".", "..", "a" * 16, "tap/0", "tap 0", "tap\t", "tap\n", "tap\0", 'tap"',
     "tap'", "tap\\", "tap*", "tap%d", "tap:1", "tap;", "tap{", "tap}", "tap#", "tap$x",
     "tap`", "-j",
     "--help", "@tap", "täp", "tap\u2028", "tap\u202e", "\ud800", "lo", "all",
     "default", "tap,b", "tap|b", "tap&", "tap!", "tap=1", "tap~", "tap?", "tap[0]"],
)  # fmt: skip
def test_anything_that_could_be_more_than_a_name_is_refused(
    body: Make, tap: str
) -> None:
    """A tap name ends in kernel rules, paths and command lines."""
    assert error_of(body(system_name=tap)).startswith(
        "Invalid or missing field for <system-name>"
    )


@pytest.mark.parametrize("name", ["", "a" * 255, "Ünïcode 名前 🙂", "a'b\"c<d>&e"])
def test_display_names_of_any_script(body: Make, name: str) -> None:
    """People name their guests as they like."""
    assert name == decode_port(body(display_name=name)).display_name


@pytest.mark.parametrize(
    "name", ["a" * 256, "a\nb", "\x1b[2J", "a\x00", "\x7f", "\x9b", "\u2028", "\ud800"]
)
def test_display_names_that_break_a_screen_are_refused(body: Make, name: str) -> None:
    """Too long, or control characters."""
    assert error_of(body(display_name=name)).startswith(
        "Invalid or missing field for <display-name>"
    )


@pytest.mark.parametrize(
    "mac",
    ["", "00:00:00:00:00:00", "0:0:0:0:0:0", "02:00:00:00:00", "02-00-00-00-00-01",
     "02:00:00:00:00:01:02", "02:00:00:00:00:0g", "0200.0000.0001",
     "02:00:00:00:00:001"],
)  # fmt: skip
def test_a_mac_has_five_colons_and_is_not_zero(body: Make, mac: str) -> None:
    """Contrail's text and rule."""
    found = error_of(body(mac_address=mac))
    assert found in (
        "Invalid MAC, Use xx:xx:xx:xx:xx:xx format",
        "Invalid or missing field for <mac-address>: 18 characters, at most 17",
        "Invalid or missing field for <mac-address>: 20 characters, at most 17",
    )


@pytest.mark.parametrize(
    "mac", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "3:0:0:0:0:1"]
)
def test_a_group_mac_is_refused(body: Make, mac: str) -> None:
    """No guest has one."""
    assert error_of(body(mac_address=mac)) == "Invalid MAC, multicast or broadcast"


@pytest.mark.parametrize(
    ("vlan", "good"), [(-2, 0), (-1, 1), (0, 1), (4094, 1), (4095, 0)]
)
def test_vlans_have_bounds(body: Make, vlan: int, good: int) -> None:
    """-1 is none, 4095 is reserved."""
    if good:
        port = decode_port(body(rx_vlan_id=vlan, tx_vlan_id=vlan))
        assert (vlan, vlan) == (port.rx_vlan, port.tx_vlan)
    else:
        assert error_of(body(rx_vlan_id=vlan)) == (
            "Invalid or missing field for <rx-vlan-id>: not in -1 to 4094"
        )


def test_a_vlan_is_one_both_ways_or_none(body: Make) -> None:
    """A reply must find back; the first text is Contrail's. VLAN 0 is none."""
    assert 0 == decode_port(body(rx_vlan_id=0, tx_vlan_id=-1)).vlan
    assert 7 == decode_port(body(rx_vlan_id=7, tx_vlan_id=8)).vlan
    assert error_of(body(rx_vlan_id=7)) == (
        "Invalid request. RX (isolated) vlan set, but TX vlan not set"
    )
    assert error_of(body(rx_vlan_id=0, tx_vlan_id=7)) == (
        "Invalid request. TX vlan set, but RX (isolated) vlan not set"
    )


@pytest.mark.parametrize("junk", [1, None, "a\nb", "a" * 256, ["x"]])
def test_author_and_time_never_matter(body: Make, junk: Any) -> None:
    """Contrail ignores them; what is not plain text is dropped."""
    port = decode_port(body(author=junk, time=junk))
    assert (port.author, port.time) == ("", "")


def test_an_array_is_all_or_none(body: Make) -> None:
    """One bad element spoils it, and the text says which."""
    good, bad = body(), body(mac_address="x")
    assert len(decode_ports(pretty([good, good]))) == 2
    assert decode_ports(b"[]") == ()
    with pytest.raises(WireError, match=r"Invalid MAC, .* \(element 1\)"):
        decode_ports(pretty([good, bad]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Invalid Json string ==> Expecting value at line 1 column 1"),
        (b"{", "Invalid Json string ==> Expecting property name"),
        (b"\xff", "Invalid Json string ==> not UTF-8 at byte 0"),
        (b'{"a":NaN}', "Invalid Json string ==> NaN is not JSON"),
        (b'{"a":1,"a":2}', "Invalid Json string ==> a member occurs twice"),
        (b"[" * 100_000, "Invalid Json string ==> nested too deeply"),
        (b"1" * 5_000, "Invalid Json string ==> a number is too long"),
        (b"1", "Unexpected Json string ==> neither object nor array"),
        (b"[1]", "Json Array has invalid element ==> element 0"),
    ],
)
def test_broken_json_is_refused_without_quoting_it(text: bytes, message: str) -> None:
    """Contrail's texts, with the place instead of the body."""
    with pytest.raises(WireError) as caught:
        decode_ports(text)
    assert str(caught.value).startswith(message)


def test_the_reply_to_get_is_contrails(body: Make) -> None:
    """Contrail's members in Contrail's order and spelling, then ours."""
    registration = Registration(decode_port(body()), 11, IDENTITY)
    assert (
        pretty(describe(registration, state="Active"))
        == b"""{
    "id": "93c2c386-6e79-485e-bfa4-b9daa713133b",
    "instance-id": "32d0524b-314d-4594-b3a3-607e3f2354f8",
    "vn-id": "12345678-1234-1234-1234-123456789abc",
    "vm-project-id": "00112233-4455-6677-8899-aabbccddeeff",
    "mac-address": "02:93:c2:c3:86:6e",
    "system-name": "tap93c2c386-6e",
    "rx-vlan-id": -1,
    "tx-vlan-id": -1,
    "vhostuser-mode": 0,
    "ip-address": "10.0.0.5",
    "plen": 32,
    "dns-server": "0.0.0.0",
    "gateway": "0.0.0.0",
    "author": "",
    "time": "",
    "display-name": "web-1",
    "type": 0,
    "mdata-ip": "169.254.64.11",
    "state": "Active",
    "owner": "api"
}"""
    )


def test_the_reply_to_get_of_a_port_with_ipv6(body: Make) -> None:
    """Three more members, after gateway."""
    port = decode_port(body(ip6_address="2001:db8::5", ip_address="None"))
    reply = describe(Registration(port, 11, IDENTITY), state="")
    assert list(reply)[12:16] == [
        "gateway", "v6-ip-address", "v6-dns-server", "v6-gateway"
    ]  # fmt: skip
    assert reply["v6-ip-address"] == "2001:db8::5"
    assert reply["mdata-ip6"] == "fd40:140:b::1"
    assert reply["ip-address"] == "0.0.0.0"


def test_a_record_has_contrails_members_in_order(body: Make) -> None:
    """The file is Contrail's, plus the identity."""
    always = decode_port(body(author="a", time="t"))
    members = json.loads(encode_record(Registration(always, 11, IDENTITY)))
    assert list(members) == [
        "id", "instance-id", "display-name", "ip-address", "ip6-address", "vn-id",
        "vm-project-id", "mac-address", "system-name", "type", "rx-vlan-id",
        "tx-vlan-id", "vhostuser-mode", "author", "time", "mdata-ip",
        "owner",
    ]  # fmt: skip
    remote = decode_port(body(type=2))
    members = json.loads(encode_record(Registration(remote, 11, IDENTITY)))
    assert list(members)[12:14] == ["vhostuser-mode", "link-state"]


def test_contrails_own_sample_file_is_read() -> None:
    """The file that Contrail's tests keep has no vhostuser-mode and no author."""
    sample = b"""{"ip-address": "1.1.1.1", "tx-vlan-id": -1, "display-name": "vm1",
     "id": "00000000-0000-0000-0000-000000000001",
     "instance-id": "00000000-0000-0000-0000-000000000002", "ip6-address": "None",
     "rx-vlan-id": -1, "system-name": "tapid", "type": 0,
     "vn-id": "00000000-0000-0000-0000-000000000003", "vm-project-id": "",
     "mac-address": "00:00:00:00:00:01"}"""
    record = decode_record(sample)
    assert (record.port.tap, record.identity) == ("tapid", None)


@pytest.mark.parametrize("said", [one for one in PortTokens if one])
def test_what_is_said_of_session_tokens_is_kept_and_shown(
    body: Make, said: PortTokens
) -> None:
    """Own addition, at the end; without it both objects are Contrail's."""
    registration = Registration(decode_port(body(session_tokens=said)), 11, IDENTITY)
    assert said is registration.port.session_tokens
    kept = json.loads(encode_record(registration))
    shown = describe(registration, state="")
    assert ("session-tokens", said) == list(kept.items())[-1]
    assert ("session-tokens", said) == list(shown.items())[-1]


@pytest.mark.parametrize("said", ["", "on", "Required", None, True, "x" * 1000])
def test_session_tokens_of_no_mode_are_refused(body: Make, said: Any) -> None:
    """A typing error does not become a port without protection."""
    if said == "":
        assert PortTokens.UNSAID is decode_port(body(session_tokens="")).session_tokens
        return
    assert "<session-tokens>" in error_of(body(session_tokens=said))


def test_a_port_that_learns_is_kept_and_shown(body: Make) -> None:
    """Own addition; without it both objects are Contrail's. 0.0.0.0 means what it
    means without it: not known.
    """
    learning = decode_port(body(learn=True, ip_address="0.0.0.0"))
    assert (True, None) == (learning.learn, learning.address)
    registration = Registration(learning, 11, IDENTITY)
    for made in (encode_record(registration), pretty(describe(registration, state=""))):
        assert json.loads(made)["learn"] is True
    assert decode_record(encode_record(registration)).port == learning
    plain = decode_port(body(learn=False))
    assert decode_port(body()) == plain
    assert "learn" not in json.loads(encode_record(Registration(plain, 11, IDENTITY)))


@pytest.mark.parametrize("said", [1, 0, "true", None, []])
def test_learning_is_true_or_false(body: Make, said: Any) -> None:
    """A typing error does not become a port that takes any address, or none."""
    assert "<learn>: not true or false" in error_of(body(learn=said))


def test_a_port_with_further_addresses_cannot_learn(body: Make) -> None:
    """Which of them a new one would replace is not known."""
    further = {"further_addresses": ["10.0.0.6"]}
    assert "a port with <further-addresses> cannot learn" in error_of(
        body(learn=True, **further)
    )
    assert decode_port(body(learn=False, **further)).further
    assert decode_port(body(learn=True, further_addresses=[])).learn


def test_a_learned_address_takes_the_place_of_its_kind(body: Make) -> None:
    """Of the other IP version nothing changes."""
    port = decode_port(body(learn=True, ip6_address="2001:db8::5"))
    learned = port.with_learned(IPv4Address("10.0.0.9"))
    assert (IPv4Address("10.0.0.9"), port.address6) == learned.addresses
    learned = port.with_learned(IPv6Address("2001:db8::9"))
    assert (port.address, IPv6Address("2001:db8::9")) == learned.addresses


@pytest.mark.parametrize("owner", PortOwner)
def test_who_made_a_port_is_kept_and_shown(body: Make, owner: PortOwner) -> None:
    """Own addition to file and reply."""
    port = decode_port(body(owner=owner.value))
    registration = Registration(port, 11, IDENTITY)
    assert owner is port.owner
    assert owner is decode_record(encode_record(registration)).port.owner
    assert owner == describe(registration, state="")["owner"]


def test_the_owner_of_what_contrails_tools_write(body: Make) -> None:
    """They do not say: it is a client of the port API, or a file."""
    assert PortOwner.API is decode_port(body()).owner
    assert PortOwner.FILE is decode_record(pretty(body())).port.owner


@pytest.mark.parametrize("said", ["", "root", "Watcher", None, 1, [], "x" * 1000])
def test_an_owner_that_is_none_is_refused(body: Make, said: Any) -> None:
    """Nothing is registered in a name that means nothing."""
    assert "<owner>" in error_of(body(owner=said))


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (b"", None),
        (b"{}", None),
        (b"[]", None),
        (b'{"owner": "watcher"}', PortOwner.WATCHER),
        (b'{"owner": "cli", "x": 1}', PortOwner.CLI),
    ],
)
def test_whose_port_a_call_removes(text: bytes, owner: PortOwner | None) -> None:
    """Anybody's where the call does not say."""
    assert owner is decode_owner(text)


@pytest.mark.parametrize("text", [b"{", b'{"owner": "x"}', b'{"owner": null}'])
def test_a_call_that_removes_for_nobody_is_refused(text: bytes) -> None:
    """It is not taken for one that removes anybody's."""
    with pytest.raises(WireError):
        decode_owner(text)


@pytest.mark.parametrize("identity", [1, None, "9" * 65])
def test_a_record_with_a_mistyped_identity_is_refused(
    body: Make, identity: Any
) -> None:
    """We wrote it, so it is broken."""
    with pytest.raises(WireError, match="mdata-ip"):
        decode_record(pretty({**body(), "mdata-ip": identity}))


def test_the_mark_of_contrails_file_comes_back(body: Make) -> None:
    """Where there is one; what others write in its place is none."""
    port = decode_port(body())
    registration = Registration(port, 3, IPv4Address("169.254.64.3"))
    assert "7-8-9" == decode_record(encode_record(registration, "7-8-9")).mark
    assert b"contrail-file" not in encode_record(registration)
    for mark, expected in (("1-2-3", "1-2-3"), (7, ""), (None, "")):
        text = pretty(body(contrail_file=mark))
        assert expected == decode_record(text).mark
        text = pretty(body(contrail_file=mark, mdata_ip="169.254.64.3"))
        assert expected == decode_record(text).mark


def test_a_record_must_be_an_object() -> None:
    """An array is no journal file."""
    with pytest.raises(WireError, match="not an object"):
        decode_record(b"[]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
HEX = "0123456789abcdefABCDEF"
UUIDS = st.uuids().map(str) | st.uuids().map(lambda u: u.hex)
MACS = st.lists(st.text(HEX, min_size=1, max_size=2), min_size=5, max_size=5)
GOOD = {
    "id": st.uuids().map(str),
    "instance-id": st.uuids().map(lambda u: u.hex.upper()),
    "vn-id": UUIDS,
    "vm-project-id": UUIDS | st.just(""),
    "display-name": st.text("aé名🙂 \"'<&\\", max_size=255),
    "ip-address": st.ip_addresses().map(str) | st.text(),
    "ip6-address": st.ip_addresses(v=6).map(str) | st.text(),
    "mac-address": MACS.map(lambda octets: ":".join(["2", *octets])),
    "system-name": st.from_regex(r"[a-z0-9_][A-Za-z0-9_.+-]{0,14}\Z"),
    "type": st.integers(0, 3),
    "rx-vlan-id": st.integers(-1, 4094),
    "tx-vlan-id": st.integers(-1, 4094),
}
OPTIONAL = {
    "vhostuser-mode": st.integers(0, 1),
    "link-state": st.integers(-1, 2),
    "author": st.text(max_size=5),
    "time": JSON,
    "session-tokens": st.sampled_from(PortTokens).filter(bool),
    "learn": st.booleans(),
    "owner": st.sampled_from(PortOwner),
    "project-id": st.from_regex(r"[!-~]([ -~]{0,9}[!-~])?", fullmatch=True),
}


@given(st.binary(max_size=300) | JSON.map(lambda v: json.dumps(v).encode()))
def test_no_bytes_raise_anything_but_wire_error(text: bytes) -> None:
    """Whatever arrives, the refusal is ours."""
    with suppress(WireError):
        decode_ports(text)


@given(
    st.fixed_dictionaries(GOOD, optional=OPTIONAL),
    st.just({}) | st.dictionaries(st.sampled_from([*GOOD, *OPTIONAL]), JSON),
)
def test_every_accepted_port_comes_back_from_its_file(
    value: dict[str, Any], spoiled: dict[str, Any]
) -> None:
    """What is accepted survives a restart as it is, and is plain to print."""
    try:
        port = decode_port({**value, **spoiled})
    except WireError:
        event("refused")
        return
    event("accepted")
    record = decode_record(encode_record(Registration(port, 11, IDENTITY)))
    assert (port, IDENTITY) == (record.port, record.identity)
    assert all(c.isalnum() or c in "_.+-" for c in port.tap)
    assert 1 <= len(port.tap) <= 15
    assert len(port.mac) == 17
    described = describe(Registration(port, 11, IDENTITY), state="")
    again = {**described, "ip6-address": described.get("v6-ip-address", "None")}
    assert decode_port(again) == replace(
        port, link_up=port.kind != 2
    )  # GET does not show it


def test_further_addresses_are_of_either_family(body: Make) -> None:
    """Ours; absent they are none, and then nothing is said of them."""
    port = decode_port(body(further_addresses=["10.0.0.6", "2001:DB8::6"]))
    assert (IPv4Address("10.0.0.6"), IPv6Address("2001:db8::6")) == port.further
    record = Registration(port, 11, IDENTITY, (12, 14))
    identities = (IPv4Address("169.254.64.12"), IPv4Address("169.254.64.14"))
    decoded = decode_record(encode_record(record))
    assert (port, IDENTITY, identities) == (
        decoded.port,
        decoded.identity,
        decoded.further,
    )
    described = describe(record, state="")
    assert ["10.0.0.6", "2001:db8::6"] == described["further-addresses"]
    assert ["169.254.64.12", "169.254.64.14"] == described["further-mdata-ips"]
    plain = Registration(decode_port(body()), 11, IDENTITY)
    assert b"further" not in encode_record(plain)


@pytest.mark.parametrize(
    "wrong",
    [
        "10.0.0.6",
        None,
        ["None"],
        [7],
        ["0.0.0.0"],
        ["10.0.0.6", "10.0.0.6"],
        ["fe80::1%eth0"],
        ["1" * 65],
        [f"10.0.1.{n}" for n in range(64)],
    ],
)
def test_further_addresses_are_addresses(body: Make, wrong: Any) -> None:
    """Nobody sends them by habit, so nothing else is meant."""
    assert error_of(body(further_addresses=wrong)).startswith(
        "Invalid or missing field for <further-addresses>: not a"
    )


@pytest.mark.parametrize("wrong", ["169.254.64.12", None, ["1"] * 64])
def test_a_journal_with_odd_identities_is_refused(body: Make, wrong: Any) -> None:
    """Length before content; a single one that is none is only not kept."""
    record = {**body(), "mdata-ip": "169.254.64.11", "further-mdata-ips": wrong}
    with pytest.raises(WireError, match="further-mdata-ips"):
        decode_record(json.dumps(record).encode())
    record["further-mdata-ips"] = [7, "x"]
    assert (None, None) == decode_record(json.dumps(record).encode()).further


def test_what_is_unknown_is_written_as_contrail_writes_it(body: Make) -> None:
    """In the file and in the reply; letters as they are."""
    port = decode_port(body(ip_address="None", display_name="Käse"))
    text = encode_record(Registration(port, 11, IDENTITY))
    members = json.loads(text)
    assert ("0.0.0.0", "::") == (members["ip-address"], members["ip6-address"])
    assert "Käse".encode() in text
    six = decode_port(body(ip6_address="2001:db8::5"))
    reply = describe(Registration(six, 11, IDENTITY), state="")
    assert ("::", "::") == (reply["v6-dns-server"], reply["v6-gateway"])


@pytest.mark.parametrize(
    ("kind", "link", "is_up"),
    [(0, ..., True), (0, 0, False), (0, 1, True), (2, ..., False), (2, 1, True)],
)
def test_whether_the_link_is_up(body: Make, kind: int, link: Any, is_up: bool) -> None:
    """A port of a virtual machine is, unless it is said not to be."""
    assert is_up == decode_port(body(type=kind, link_state=link)).link_up


@pytest.mark.parametrize(
    ("surplus", "is_refused"), [(-1, False), (0, False), (1, True)]
)
def test_a_file_has_so_many_further_identities(
    body: Make, surplus: int, *, is_refused: bool
) -> None:
    """n-1, n, n+1."""
    members = body(mdata_ip="169.254.64.11")
    members["further-mdata-ips"] = ["169.254.64.12"] * (MAX_FURTHER + surplus)
    text = json.dumps(members).encode()
    if is_refused:
        with pytest.raises(WireError, match="further-mdata-ips"):
            decode_record(text)
    else:
        assert MAX_FURTHER + surplus == len(decode_record(text).further)


@pytest.mark.parametrize(
    ("kind", "link", "written"),
    [(0, 1, None), (0, 0, 0), (2, 1, 1), (2, 0, 0)],
)
def test_when_the_state_of_the_link_is_written(
    body: Make, kind: int, link: int, written: int | None
) -> None:
    """Unless it is what a reader takes for granted."""
    port = decode_port(body(type=kind, link_state=link))
    members = json.loads(encode_record(Registration(port, 11, IDENTITY)))
    assert written == members.get("link-state")
