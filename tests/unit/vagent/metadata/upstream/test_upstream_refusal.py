"""What errors of the upstream mean. Nova's are rendered by the embedded server, which
the tests of `vagent.nova` hold to recorded and running Novas byte by byte.
"""

from __future__ import annotations

import pytest

from vagent.metadata.upstream.refusal import (
    INSTANCE_REMEDY,
    MAX_LOOKED_AT,
    SIGNATURE_REMEDY,
    RefusalKind,
    exists_for_all,
    is_signed_for,
    read_refusal,
)
from vagent.nova.authority import BAD_SIGNATURE, NO_INSTANCE, NO_SIGNATURE, NO_TENANT
from vagent.nova.reply import FAILED, NOT_FOUND, TOO_LARGE, NovaFault, refuse

META_DATA = b"/openstack/latest/meta_data.json"
USER_DATA = b"/openstack/latest/user_data"
FORMS = ("", "*/*", "text/plain", "application/json")


@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize(
    ("fault", "kind", "header"),
    [
        (BAD_SIGNATURE, RefusalKind.SIGNATURE, "X-Instance-ID-Signature"),
        (NO_INSTANCE, RefusalKind.NO_HEADER, "X-Instance-ID"),
        (NO_SIGNATURE, RefusalKind.NO_HEADER, "X-Instance-ID-Signature"),
        (NO_TENANT, RefusalKind.NO_HEADER, "X-Tenant-ID"),
        (
            NOT_FOUND,
            RefusalKind.UNKNOWN_INSTANCE,
            "X-Instance-ID or X-Tenant-ID",
        ),
        (FAILED, RefusalKind.FAILED, ""),
    ],
)
def test_nova_s_own_words(
    fault: NovaFault, kind: RefusalKind, header: str, accept: str
) -> None:
    """In each form that Accept can ask for: the kind, and the header at fault."""
    said = refuse(fault, accept)
    found = read_refusal(said.status, said.content, META_DATA)
    assert found is not None
    assert (kind, fault.status, header) == (found.kind, found.status, found.header)
    assert found.is_setup_fault
    assert found.remedy


def test_a_refused_signature_names_both_places_of_the_secret() -> None:
    """Where Nova has it, and where the agent has it."""
    found = read_refusal(403, refuse(BAD_SIGNATURE, "").content, USER_DATA)
    assert found is not None
    assert "nova-api refused our signature: the shared secrets differ" == found.text
    assert SIGNATURE_REMEDY == found.remedy
    assert "metadata_proxy_shared_secret" in found.remedy
    assert "<shared-secret>" in found.remedy


def test_an_unknown_instance_names_instance_and_tenant() -> None:
    """404 cannot say which of them it is."""
    found = read_refusal(404, refuse(NOT_FOUND, "").content, b"/openstack")
    assert found is not None
    assert "nova-api does not know this instance with this tenant" == found.text
    assert INSTANCE_REMEDY == found.remedy


@pytest.mark.parametrize("status", [200, 204, 304, 399])
def test_below_400_nothing_is_refused(status: int) -> None:
    """Whatever the body says."""
    assert read_refusal(status, refuse(BAD_SIGNATURE, "").content, META_DATA) is None


def test_404_of_what_an_instance_need_not_have_is_an_answer() -> None:
    """User data, for one: nothing is wrong, so there are no words."""
    found = read_refusal(404, refuse(NOT_FOUND, "").content, USER_DATA)
    assert found is not None
    assert RefusalKind.NO_SUCH_PATH is found.kind
    assert not found.is_setup_fault
    assert ("", "") == (found.text, found.remedy)


def test_404_to_head_has_no_words_to_look_at() -> None:
    """Without a body the path alone decides."""
    found = read_refusal(404, b"", META_DATA)
    assert found is not None
    assert RefusalKind.UNKNOWN_INSTANCE is found.kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            400,
            b"<center>No required SSL certificate was sent</center>",
            RefusalKind.CLIENT_CERTIFICATE,
        ),
        (
            400,
            b"<center>The SSL certificate error</center>",
            RefusalKind.CLIENT_CERTIFICATE,
        ),
        (
            400,
            b"<center>The plain HTTP request was sent to HTTPS port</center>",
            RefusalKind.NEEDS_TLS,
        ),
        (
            400,
            b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
            RefusalKind.NEEDS_TLS,
        ),
        (
            400,
            b"Expected a single port matching provider P and IP A. Found 0.",
            RefusalKind.LOAD_BALANCER,
        ),
        (
            400,
            b"Could not find any subnets for provider P",
            RefusalKind.LOAD_BALANCER,
        ),
        (
            400,
            b"X-Forwarded-For is missing from request.",
            RefusalKind.LOAD_BALANCER,
        ),
        (401, b"<h1>Authorization Required</h1>", RefusalKind.FORBIDDEN),
        (403, b"<center><h1>403 Forbidden</h1></center>", RefusalKind.FORBIDDEN),
        (404, b"<center><h1>404 Not Found</h1></center>", RefusalKind.NOT_NOVA),
        (500, b"Internal Server Error", RefusalKind.FAILED),
        (502, b"<h1>502 Bad Gateway</h1>", RefusalKind.UNAVAILABLE),
        (503, b"No server is available", RefusalKind.UNAVAILABLE),
        (504, b"", RefusalKind.UNAVAILABLE),
    ],
)
def test_web_servers_in_front(status: int, body: bytes, kind: RefusalKind) -> None:
    """The words of nginx, Apache and haproxy, and of Nova's way for load balancers."""
    found = read_refusal(status, body, META_DATA)
    assert found is not None
    assert kind is found.kind
    assert found.text
    assert found.remedy


@pytest.mark.parametrize("status", [400, 409, 411, 413, 429, 501])
def test_an_error_of_the_guest_s_own_is_no_fault_of_the_setup(status: int) -> None:
    """A password that is too large, for one."""
    found = read_refusal(status, refuse(TOO_LARGE, "").content, META_DATA)
    assert found is not None
    assert RefusalKind.OTHER is found.kind
    assert not found.is_setup_fault


def test_only_the_beginning_of_a_body_is_looked_at() -> None:
    """An upstream cannot make it cost more."""
    late = b" " * MAX_LOOKED_AT + refuse(BAD_SIGNATURE, "").content
    found = read_refusal(403, late, META_DATA)
    assert found is not None
    assert RefusalKind.FORBIDDEN is found.kind


@pytest.mark.parametrize(
    "path",
    [
        b"/openstack",
        b"/openstack/",
        b"//openstack//latest/",
        b"/openstack/2012-08-10/meta_data.json",
        b"/openstack/2015-10-15?x=1",
        b"/latest",
        b"/ec2/latest/meta-data/",
        b"/2009-04-04/meta-data/instance-id",
        b"/latest/meta-data/hostname/",
    ],
)
def test_paths_that_every_instance_has(path: bytes) -> None:
    """What cloud-init asks first is among them."""
    assert exists_for_all(path)
    assert is_signed_for(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/openstack/2018-08-27/meta_data.json",
        b"/openstack/latest/network_data.json",
        b"/latest/user-data",
        b"/latest/meta-data/public-keys/",
        b"/latest/meta-data/hostname/x",
        b"/2016-09-02/meta-data/instance-id",
        b"/openstackx",
        b"/openstack\n/latest",
    ],
)
def test_paths_that_an_instance_may_lack(path: bytes) -> None:
    """A version that an old Nova does not have is among them, too."""
    assert not exists_for_all(path)


@pytest.mark.parametrize("path", [b"/", b"//", b"/?x=/latest"])
def test_the_root_proves_nothing(path: bytes) -> None:
    """It is answered before any header is looked at."""
    assert not is_signed_for(path)
