"""Questions: the headers, and where they go."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.config.model import Secret
from vagent.ctl.asking.question import (
    AskedEndpoint,
    AskedQuestion,
    endpoint_of,
    provisioned,
)
from vagent.errors import VagentError

QUESTION = AskedQuestion(
    "/latest/meta-data",
    "32d0524b-314d-4594-b3a3-607e3f2354f8",
    "28a490a0f8b28800181ce490a74df8d2",
    Secret(b"deadbeef2eb84d8d"),
)


def test_the_worked_example_of_a_question_by_hand() -> None:
    """Instance, tenant and secret of a well-known article give its signature."""
    assert [
        ("X-Instance-ID", QUESTION.instance_id),
        ("X-Tenant-ID", QUESTION.tenant_id),
        (
            "X-Instance-ID-Signature",
            "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605",
        ),
    ] == QUESTION.headers()
    assert "deadbeef" not in repr(QUESTION)


def test_an_address_is_sent_if_it_is_given() -> None:
    """As the agent does, before the others."""
    asked = AskedQuestion("/", "i", "t", Secret(b""), "10.0.0.5")
    assert ("X-Forwarded-For", "10.0.0.5") == asked.headers()[0]
    assert "/a" == asked.at("/a").path


@pytest.mark.parametrize(
    ("tenant", "others"),
    [
        ("28a490a0f8b28800181ce490a74df8d2", ["28a490a0-f8b2-8800-181c-e490a74df8d2"]),
        ("28a490a0-f8b2-8800-181c-e490a74df8d2", ["28a490a0f8b28800181ce490a74df8d2"]),
        (
            "28A490A0F8B28800181CE490A74DF8D2",
            [
                "28a490a0f8b28800181ce490a74df8d2",
                "28a490a0-f8b2-8800-181c-e490a74df8d2",
            ],
        ),
        ("admin", []),
    ],
)
def test_other_forms_of_a_tenant(tenant: str, others: list[str]) -> None:
    """A UUID has two that are used; a name has none."""
    asked = AskedQuestion("/", "i", tenant, Secret(b""))
    assert others == [other.tenant_id for other in asked.with_other_tenants()]


@pytest.mark.parametrize(
    ("url", "endpoint", "shown"),
    [
        ("http://a", AskedEndpoint("a", 8775), "http://a:8775"),
        ("https://a:443/", AskedEndpoint("a", 443, True), "https://a:443"),
        ("http://[::1]:80", AskedEndpoint("::1", 80), "http://[::1]:80"),
    ],
)
def test_upstream(url: str, endpoint: AskedEndpoint, shown: str) -> None:
    """A scheme, a host, and Nova's port where none is given."""
    assert endpoint == endpoint_of(url)
    assert shown == endpoint.url


@pytest.mark.parametrize(
    "url", ["a:8775", "ftp://a", "http://", "http://a/b", "http://a:x", "http://u@a"]
)
def test_what_is_no_upstream(url: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(VagentError, match="allowed is http://HOST"):
        endpoint_of(url)


def test_provisioned_endpoints() -> None:
    """Those of the service `metadata`, with the name of its certificate."""
    service: dict[str, Any] = {
        "linklocal_service_name": "metadata",
        "ip_fabric_service_ip": ["10.0.0.5", "10.0.0.6"],
        "ip_fabric_service_port": 8776,
        "ip_fabric_DNS_service_name": "nova",
    }
    other = {**service, "linklocal_service_name": "ntp"}
    assert provisioned([other, service], tls=True) == [
        AskedEndpoint(host, 8776, True, "nova") for host in ("10.0.0.5", "10.0.0.6")
    ]
    by_name = {**service, "ip_fabric_service_ip": []}
    assert [AskedEndpoint("nova", 8776, False, "nova")] == provisioned(
        [by_name], tls=False
    )


@pytest.mark.parametrize("services", [None, {}, [], ["metadata"], [{"a": 1}]])
def test_nothing_provisioned(services: object) -> None:
    """Then there is nobody to ask."""
    assert [] == provisioned(services, tls=False)
