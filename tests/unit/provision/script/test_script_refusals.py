"""Promises of provision.script.refusals."""

from __future__ import annotations

from typing import Any

import pytest

from provision.script.refusals import (
    RefusedChangeError,
    check_addition,
    check_deletion,
    missing,
)
from vagent.linklocal.codec import wire_entry


def service(name: str, port: int = 80, **more: Any) -> dict[str, Any]:
    """A service that guests can use."""
    values: dict[str, Any] = {
        "address": "169.254.169.254",
        "port": port,
        "fabric_addresses": ["10.0.0.5"],
        "fabric_port": 8775,
        **more,
    }
    return wire_entry(name=name, **values)


METADATA = service("metadata")


def refusal(entries: list[Any], entry: dict[str, Any]) -> str:
    """Why it is refused; "" if it is not."""
    try:
        check_addition(entries, entry)
    except RefusedChangeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "entries", [[], [METADATA], [METADATA, METADATA], [None, 7, {}, {"x": 1}]]
)
def test_a_new_or_a_changed_service_is_taken(entries: list[Any]) -> None:
    """Whatever else is in the list."""
    assert "" == refusal(entries, service("metadata", fabric_port=1234))


@pytest.mark.parametrize(
    ("left_out", "flag"),
    [
        ({"address": ""}, "--linklocal_service_ip"),
        ({"port": 0}, "--linklocal_service_port"),
        ({"fabric_port": 0}, "--ipfabric_service_port"),
        (
            {"fabric_addresses": []},
            "--ipfabric_service_ip (or --ipfabric_dns_service_name)",
        ),
    ],
)
def test_a_service_that_guests_could_not_use(
    left_out: dict[str, Any], flag: str
) -> None:
    """What it is without, and who would be cut off."""
    entry = service("metadata", **left_out)
    assert (flag,) == missing(entry)
    assert f"guests could not use metadata without {flag};" in refusal([], entry)
    said = refusal([METADATA], entry)
    assert "cut off from metadata, which leads to 10.0.0.5 port 8775 now" in said
    assert f"without {flag};" in said
    broken = {**METADATA, "ip_fabric_service_ip": []}
    assert "guests could not use metadata" in refusal([broken], entry)


def test_a_dns_name_is_enough() -> None:
    """In place of addresses, and it says where the service leads to."""
    named = service("metadata", fabric_addresses=[], fabric_dns_name="nova.example")
    assert "" == refusal([], named)
    said = refusal([named], wire_entry(name="metadata"))
    assert "which leads to nova.example port 8775 now" in said


@pytest.mark.parametrize("port", [8082, 9091, 8085])
def test_where_the_agent_listens_is_not_guessed(port: int) -> None:
    """agent.conf may say otherwise; the config API refuses what is really its own."""
    entry = service("ntp", fabric_addresses=["127.0.0.1"], fabric_port=port)
    assert "" == refusal([], entry)


def test_a_second_service_at_one_place() -> None:
    """However address and port are written."""
    other = {**service("time", 123), "linklocal_service_port": "123"}
    assert "port 123 belongs to time" in refusal([other], service("ntp", 123))
    assert "" == refusal([other], service("ntp", 124))
    v6 = service("web", address="fd00:0::7")
    assert "fd00::7 port 80 belongs" in refusal([v6], service("x", address="fd00::7"))


@pytest.mark.parametrize(
    "name",
    [
        "metadat",
        "etadata",
        "metadatas",
        "metaXdata",
        "metedata",
        "emtadata",
        "METADATA",
    ],
)
def test_a_name_one_edit_away_is_mistyped(name: str) -> None:
    """One letter too few, too many or wrong, two that are swapped, or other case."""
    entry = service(name, 81)
    assert "metadata would stay as it is" in refusal([METADATA], entry)
    assert "metadata would not be provided" in refusal([], entry)


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ("metadata", "metadata6"),
        ("echo", "echo6"),
        ("echo6", "echo"),
        ("metadata", "metdat"),
        ("metadata", "data"),
        ("ntp1", "ntp2"),
        ("ntp9", "ntp10"),
        ("a", "b"),
        ("dns", "ntp"),
        ("echo", "chose"),
    ],
)
def test_other_names_are_no_slips(known: str, name: str) -> None:
    """Those for IPv6, those further apart, a numbered series, and very short ones."""
    assert "" == refusal([service(known, 81)], service(name, 82))


def test_several_reasons_are_told_together() -> None:
    """One run says all."""
    said = refusal([METADATA], service("metadat", fabric_addresses=[]))
    for part in ("guests could not use", "belongs to metadata", "looks like metadata"):
        assert part in said


def test_deleting_an_unknown_name_says_which_there_are() -> None:
    """And which may have been meant; deleting a known one is done."""
    check_deletion([METADATA], "metadata")
    with pytest.raises(RefusedChangeError, match="did you mean metadata"):
        check_deletion([None, METADATA], "Metadata")
    many = [service(f"s{n}") for n in range(10)]
    with pytest.raises(RefusedChangeError, match=r"s0, s1, .*s7 and 2 more") as caught:
        check_deletion(many, "other")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(RefusedChangeError, match="there are no services"):
        check_deletion([], "other")
