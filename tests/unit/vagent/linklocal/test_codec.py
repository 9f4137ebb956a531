"""JSON of a link-local service, both ways."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.errors import WireError
from vagent.linklocal.codec import (
    MAX_FABRIC_ADDRESSES,
    MAX_NAME,
    conform_entries,
    conform_entry,
    decode_entry,
    encode_entry,
    parse_fabric_address,
    parse_port,
    parse_service_address,
    raw_entries,
    wire_entry,
)
from vagent.linklocal.service import LinkLocalService

METADATA = {
    "linklocal_service_name": "metadata",
    "linklocal_service_ip": "169.254.169.254",
    "linklocal_service_port": 80,
    "ip_fabric_DNS_service_name": "",
    "ip_fabric_service_port": 8775,
    "ip_fabric_service_ip": ["10.0.0.5"],
}


def entry(**changes: Any) -> dict[str, Any]:
    return {**METADATA, **changes}


def test_decode() -> None:
    """Contrail's example entry means what it says."""
    assert decode_entry(METADATA) == LinkLocalService(
        "metadata", IPv4Address("169.254.169.254"), 80, (IPv4Address("10.0.0.5"),), 8775
    )


def test_encode() -> None:
    """The service's JSON is Contrail's example entry, in its order of keys."""
    encoded = encode_entry(decode_entry(METADATA))
    assert encoded == METADATA
    assert list(encoded) == list(METADATA)


def test_unset_as_contrail() -> None:
    """What is not given is sent as Contrail's script sends it."""
    assert wire_entry(name="x") == {
        "linklocal_service_name": "x",
        "linklocal_service_ip": "",
        "linklocal_service_port": 0,
        "ip_fabric_DNS_service_name": "",
        "ip_fabric_service_port": 0,
        "ip_fabric_service_ip": [],
    }


services = st.builds(
    LinkLocalService,
    name=st.sampled_from(["metadata", "ntp", "a b", "däns"]),
    address=st.sampled_from(
        [ip_address(a) for a in ("169.254.169.254", "8.8.8.8", "fe80::a9fe:a9fe")]
    ),
    port=st.integers(1, 65535),
    fabric_addresses=st.lists(
        st.one_of(
            st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8")
        ),
        max_size=MAX_FABRIC_ADDRESSES,
        unique=True,
    ).map(tuple),
    fabric_port=st.integers(1, 65535),
    fabric_dns_name=st.sampled_from(["", "nova.example.com"]),
)


@given(services)
def test_round_trip(service: LinkLocalService) -> None:
    """Every service survives its JSON, and its JSON is already as the server has it."""
    encoded = encode_entry(service)
    assert decode_entry(encoded) == service
    assert conform_entry(encoded) == encoded


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*METADATA, "linklocal_service_entry", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_json(value: Any) -> None:
    """Whatever JSON comes, it is a service or a WireError, never another fault."""
    messages = []
    for decode in (decode_entry, conform_entry, conform_entries):
        try:
            decode(value)
        except WireError as error:
            messages.append(str(error))
    assert all(len(message) < 400 for message in messages)


def test_name_case() -> None:
    """The name is stored in lower case; the DNS name stays as it is."""
    service = decode_entry(
        entry(linklocal_service_name="MetaData", ip_fabric_DNS_service_name="Nova.X")
    )
    assert (service.name, service.fabric_dns_name) == ("metadata", "Nova.X")
    assert service.is_metadata


@pytest.mark.parametrize("port", ["80", " 80 ", 80.0])
def test_ports_convert(port: object) -> None:
    """A port may be anything that converts to an integer without loss."""
    assert decode_entry(entry(linklocal_service_port=port)).port == 80


@pytest.mark.parametrize(
    "port",
    [True, 80.5, "http", "", [], {}, float("inf"), float("nan"), "9" * 5000, "0x50"],
)
def test_ports_refused(port: object) -> None:
    """What is no integer is refused in Contrail's words."""
    with pytest.raises(
        WireError, match="linklocal_service_port: integer value expected instead of"
    ):
        conform_entry(entry(linklocal_service_port=port))


@pytest.mark.parametrize("field", ["linklocal_service_port", "ip_fabric_service_port"])
def test_port_limits(field: str) -> None:
    """Ports are 1–65535; the API's conversion takes more, the meaning does not."""
    for port in (1, 65535):
        decode_entry(entry(**{field: port}))
    for wrong in (0, -1, 65536, 10**5000, None):
        if wrong != 10**5000:
            assert conform_entry(entry(**{field: wrong}))[field] == wrong
        with pytest.raises(WireError, match=field):
            decode_entry(entry(**{field: wrong}))


def test_name_limits() -> None:
    """A name has 1–255 printable characters."""
    for length in (1, MAX_NAME - 1, MAX_NAME):
        decode_entry(entry(linklocal_service_name="n" * length))
    for name in ("", None, "n" * (MAX_NAME + 1), "a\nb", "\ud800"):
        with pytest.raises(WireError, match="linklocal_service_name"):
            decode_entry(entry(linklocal_service_name=name))


def test_unknown_key() -> None:
    """An unknown key is refused in Contrail's words."""
    with pytest.raises(WireError, match="does not have field 'protocol'"):
        conform_entry(entry(protocol="tcp"))
    with pytest.raises(WireError, match="does not have field 'entries'"):
        raw_entries({"entries": []})


def test_missing_keys() -> None:
    """Missing and null keys become None and []; the list is never null."""
    bare = conform_entry({"ip_fabric_service_ip": None})
    assert list(bare) == list(METADATA)
    assert bare.pop("ip_fabric_service_ip") == []
    assert set(bare.values()) == {None}


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [("10.0.0.5", ["10.0.0.5"]), ([[]], []), ([], []), ("", []), ([None, "x"], ["x"])],
)
def test_fabric_forms(given_value: object, expected: list[str]) -> None:
    """One text is a list of one; [[]], as old scripts send it, is none."""
    converted = conform_entry(entry(ip_fabric_service_ip=given_value))
    assert converted["ip_fabric_service_ip"] == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("linklocal_service_name", 5),
        ("linklocal_service_ip", ["169.254.169.254"]),
        ("ip_fabric_DNS_service_name", {}),
        ("ip_fabric_service_ip", [10]),
        ("ip_fabric_service_ip", {"a": 1}),
    ],
)
def test_text_refused(field: str, value: object) -> None:
    """Text must be text."""
    with pytest.raises(WireError, match=f"{field}: string value expected"):
        conform_entry(entry(**{field: value}))


@pytest.mark.parametrize(
    "text",
    ["169.254.169.254", "8.8.8.8", "1.0.0.0", "fe80::a9fe:a9fe", "fd00:ec2::254"],
)
def test_service_addresses(text: str) -> None:
    """Any unicast address may be offered, as in Contrail."""
    assert parse_service_address(text) == ip_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "metadata",
        "169.254.169.254/32",
        "169.254.169",
        " 169.254.169.254",
        "0.0.0.0",
        "127.0.0.1",
        "127.9.9.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
    ],
)
def test_service_addresses_refused(text: str) -> None:
    """An address that a tap cannot carry is refused, never stored as 0.0.0.0."""
    with pytest.raises(WireError, match="linklocal_service_ip"):
        parse_service_address(text)


def test_fabric_addresses() -> None:
    """Loopback is the host of the agent; nobody listens on multicast or 0.0.0.0."""
    assert parse_fabric_address("127.0.0.1") == IPv4Address("127.0.0.1")
    assert parse_fabric_address("::1") == IPv6Address("::1")
    for text in ("0.0.0.0", "::", "239.1.1.1", "255.255.255.255", "nova"):
        with pytest.raises(WireError, match="ip_fabric_service_ip"):
            parse_fabric_address(text)


@pytest.mark.parametrize(
    "name", ["0.0.0.0", "239.1.1.1", "255.255.255.255", "::ffff:127.0.0.1", "::1%lo"]
)
def test_a_name_that_is_an_address(name: str) -> None:
    """The rule for fabric addresses holds for it, too, where it is used as one."""
    named = {"ip_fabric_DNS_service_name": name}
    with pytest.raises(WireError, match="ip_fabric_DNS_service_name"):
        decode_entry(entry(ip_fabric_service_ip=[], **named))
    decode_entry(entry(ip_fabric_service_ip=["10.0.0.9"], **named))
    named = {"ip_fabric_DNS_service_name": "127.0.0.1"}
    decode_entry(entry(ip_fabric_service_ip=[], **named))


def test_fabric_addresses_skipped() -> None:
    """Bad fabric addresses are left out one by one, doubles once; order stays."""
    skipped: list[str] = []
    texts = ["10.0.0.9", "nova", "10.0.0.1", "0.0.0.0", "10.0.0.9"]
    service = decode_entry(entry(ip_fabric_service_ip=texts), skipped.append)
    assert [str(a) for a in service.fabric_addresses] == ["10.0.0.9", "10.0.0.1"]
    assert len(skipped) == 2
    assert "'nova' is not an IP address" in skipped[0]


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_fabric_ceiling(excess: int) -> None:
    """64 fabric addresses count; of the rest one line tells."""
    skipped: list[str] = []
    count = MAX_FABRIC_ADDRESSES + excess
    texts = [f"10.0.0.{n}" for n in range(1, count + 1)]
    service = decode_entry(entry(ip_fabric_service_ip=texts), skipped.append)
    assert len(service.fabric_addresses) == min(count, MAX_FABRIC_ADDRESSES)
    assert len(skipped) == max(0, excess)


def test_lists() -> None:
    """The property is null, empty, one entry or a list of entries."""
    assert raw_entries(None) == raw_entries({}) == []
    assert raw_entries({"linklocal_service_entry": None}) == []
    assert raw_entries({"linklocal_service_entry": METADATA}) == [METADATA]
    assert conform_entries({"linklocal_service_entry": [METADATA]}) == [METADATA]
    refused: list[Any] = [[], "text", {"linklocal_service_entry": "text"}]
    for bad in refused:
        with pytest.raises(WireError):
            raw_entries(bad)
    with pytest.raises(WireError, match="an entry is a JSON object, got 5"):
        conform_entries({"linklocal_service_entry": [5]})


def test_messages_are_short() -> None:
    """A message repeats at most 80 characters of what it refuses."""
    with pytest.raises(WireError) as caught:
        decode_entry(entry(linklocal_service_ip="x" * 10_000))
    assert len(str(caught.value)) < 200
    with pytest.raises(WireError, match="port int is not a port"):
        parse_port("port", 10**5000)


@pytest.mark.parametrize(("letters", "cut"), [(73, ""), (74, ""), (75, "…")])
def test_a_message_repeats_so_much_of_a_value(letters: int, cut: str) -> None:
    """n-1, n, n+1 characters as they are shown, quotes and escapes included."""
    shown = repr("\0" + "n" * letters)[:80]
    with pytest.raises(WireError) as caught:
        decode_entry({"linklocal_service_name": "\0" + "n" * letters})
    expected = f"linklocal_service_name {shown}{cut} is not printable"
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"linklocal_service_ip": None}, "linklocal_service_ip '' is not an IP"),
        ({"linklocal_service_ip": "x"}, "linklocal_service_ip 'x' is not an IP"),
        ({"linklocal_service_port": 0}, "linklocal_service_port 0 is not a port"),
        ({"ip_fabric_service_port": 0}, "ip_fabric_service_port 0 is not a port"),
        ({"ip_fabric_service_port": None}, "ip_fabric_service_port is missing"),
    ],
)
def test_a_message_names_the_field(changes: dict[str, Any], why: str) -> None:
    """And the value, where there is one."""
    with pytest.raises(WireError) as caught:
        decode_entry(entry(**changes))
    assert str(caught.value).startswith(why)
