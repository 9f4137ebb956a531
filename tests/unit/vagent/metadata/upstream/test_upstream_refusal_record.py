"""What is remembered of refusals: of which endpoint, of which port, and until when."""

from __future__ import annotations

import pytest

from tests.unit.vagent.metadata.upstream.pool_rig import HELLO, Rig
from vagent.metadata.events import Caller
from vagent.metadata.limits import MAX_WHOLE_REPLY
from vagent.metadata.upstream.events import UpstreamRefused
from vagent.metadata.upstream.refusal import RefusalKind
from vagent.metadata.upstream.refusal_record import MAX_REFUSED_PORTS, RefusalRecord
from vagent.nova.authority import BAD_SIGNATURE, NO_TENANT
from vagent.nova.reply import FAILED, NOT_FOUND, NovaFault, refuse
from vagent.observe.event import Event

ALICE = Caller("alice", "tap1", "10.0.0.3")
NOVA = "192.0.2.1:8775"
META_DATA = b"/openstack/latest/meta_data.json"
USER_DATA = b"/openstack/latest/user_data"


class Noting:
    """A record, and what it reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.record = RefusalRecord(self.events.append)

    def note(
        self,
        status: int,
        body: bytes = b"",
        *,
        path: bytes = META_DATA,
        caller: Caller = ALICE,
        endpoint: str = NOVA,
    ) -> None:
        self.record.note(endpoint, status, body, request_id=7, caller=caller, path=path)

    def fault(self, fault: NovaFault, **more: bytes) -> None:
        self.note(fault.status, refuse(fault, "").content, **more)  # type: ignore[arg-type]  # only the path

    def seen(self) -> tuple[list[str], list[str]]:
        """Kinds of endpoints, and of ports."""
        record = self.record
        assert record.is_empty is not bool(record.endpoints or record.ports)
        return (
            [one.kind.value for one in record.endpoints.values()],
            [one.refusal.kind.value for one in record.ports.values()],
        )


def test_a_refused_signature_is_the_endpoint_s() -> None:
    """Whatever was asked for; the event has words and remedy."""
    noting = Noting()
    noting.fault(BAD_SIGNATURE, path=USER_DATA)
    assert (["signature-refused"], []) == noting.seen()
    (event,) = noting.events
    assert isinstance(event, UpstreamRefused)
    assert (7, ALICE, NOVA, 403, RefusalKind.SIGNATURE) == (
        event.request,
        event.caller,
        event.endpoint,
        event.status,
        event.kind,
    )
    assert "signature-refused" == event.label()
    assert event.is_fault()
    assert event.text().endswith(
        f"by {NOVA} : 403 nova-api refused our signature: the shared secrets differ"
    )
    assert event.remedy


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(NOT_FOUND, "instance-unknown"), (FAILED, "nova-failed")],
)
def test_what_nova_does_not_know_is_the_port_s(fault: NovaFault, kind: str) -> None:
    """Another guest of the same endpoint may well be served."""
    noting = Noting()
    noting.fault(fault)
    assert ([], [kind]) == noting.seen()
    assert NOVA == noting.record.ports["alice"].endpoint


@pytest.mark.parametrize(
    ("status", "body", "path"),
    [
        (404, b"The resource could not be found.", USER_DATA),
        (500, b"", USER_DATA),
        (403, b"Forbidden", b"/latest/x"),
        (502, b"", b"/latest/x"),
        (409, b"", META_DATA),
    ],
)
def test_what_a_guest_can_bring_about_is_no_evidence(
    status: int, body: bytes, path: bytes
) -> None:
    """Odd paths crash nova-api, or are refused by a web server in front of it."""
    noting = Noting()
    noting.note(status, body, path=path)
    assert (([], []), []) == (noting.seen(), noting.events)


@pytest.mark.parametrize(
    ("status", "path", "left"), [(200, META_DATA, False), (200, b"/", True)]
)
def test_a_good_reply_ends_both(status: int, path: bytes, left: bool) -> None:
    """But not one to the root, for which nothing is checked."""
    noting = Noting()
    noting.fault(FAILED)
    noting.fault(BAD_SIGNATURE)
    assert (["signature-refused"], ["nova-failed"]) == noting.seen()
    noting.note(status, path=path)
    assert left is not noting.record.is_empty


def test_an_unknown_instance_proves_the_signature() -> None:
    """Nova looks at it first."""
    noting = Noting()
    noting.fault(BAD_SIGNATURE)
    noting.fault(NOT_FOUND)
    assert ([], ["instance-unknown"]) == noting.seen()


def test_a_good_reply_to_another_says_nothing_of_this_port() -> None:
    """Nor of another endpoint."""
    noting = Noting()
    noting.fault(NOT_FOUND)
    noting.note(403, b"Invalid proxy request signature.", endpoint="192.0.2.2:8775")
    bob = Caller("bob", "tap2", "10.0.0.4")
    noting.note(200, caller=bob)
    assert (["signature-refused"], ["instance-unknown"]) == noting.seen()


def test_what_goes_is_forgotten() -> None:
    """A port, or an endpoint with all that it said."""
    noting = Noting()
    noting.fault(NOT_FOUND)
    noting.record.forget("alice")
    assert noting.record.is_empty
    noting.fault(NOT_FOUND)
    noting.note(502, endpoint="192.0.2.2:8775")
    noting.record.keep({"192.0.2.2:8775"})
    assert (["nova-unavailable"], []) == noting.seen()
    noting.record.keep(())
    assert noting.record.is_empty


def test_a_crowd_of_guests_costs_bounded_memory() -> None:
    """Those that are known are followed; others wait for a place."""
    noting = Noting()
    for number in range(MAX_REFUSED_PORTS + 2):
        noting.note(404, caller=Caller(f"p{number}", "", ""))
    assert MAX_REFUSED_PORTS == len(noting.record.ports)
    noting.note(500, caller=Caller("p0", "", ""))
    assert "nova-failed" == noting.record.ports["p0"].refusal.kind.value
    noting.note(200, caller=Caller("p1", "", ""))
    noting.note(404, caller=Caller("last", "", ""))
    assert "last" in noting.record.ports


REFUSAL = refuse(BAD_SIGNATURE, "").content
HEAD = b"HTTP/1.1 403 X\r\nContent-Length: %d\r\n\r\n" % len(REFUSAL)


def asked(rig: Rig, method: bytes, reply: bytes) -> bytes:
    """What the guest got for its request to the one endpoint."""
    head = method + b" /openstack HTTP/1.1\r\nHost: a\r\n\r\n"
    guest, transport = rig.ask(head=head)
    upstream, _ = rig.connect(len(rig.attempts) - 1)
    upstream.dataReceived(reply)
    rig.use("127.0.0.1")
    got: bytes = transport.value()
    del guest
    return got


@pytest.mark.parametrize("cut", [len(HEAD), len(HEAD) + 20, len(HEAD + REFUSAL)])
def test_the_pool_notes_what_came_whole(cut: int) -> None:
    """However the upstream cuts its segments; the guest gets it as it is."""
    rig = Rig()
    _, guest = rig.ask(head=b"GET /openstack HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream, _ = rig.connect(0)
    whole = HEAD + REFUSAL
    upstream.dataReceived(whole[:cut])
    if cut < len(whole):
        upstream.dataReceived(whole[cut:])
    assert guest.value().endswith(REFUSAL)
    told = [one for one in rig.events if isinstance(one, UpstreamRefused)]
    assert [("127.0.0.1:80", 1)] == [(one.endpoint, one.request) for one in told]
    rig.ask(head=b"GET /openstack HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream.dataReceived(HELLO)
    assert rig.proxy.refusals.is_empty


def test_a_missing_header_is_noted() -> None:
    """400 is the least of the errors."""
    rig = Rig()
    body = refuse(NO_TENANT, "").content
    head = b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n" % len(body)
    asked(rig, b"GET", head + body)
    (refusal,) = rig.proxy.refusals.endpoints.values()
    assert "X-Tenant-ID" == refusal.header


def test_an_error_that_is_streamed_is_not_nova_s() -> None:
    """Nova's are short; the words of this one are not kept."""
    rig = Rig()
    _, guest = rig.ask(head=b"GET /openstack HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream, _ = rig.connect(0)
    body = b"x" * (MAX_WHOLE_REPLY + 1)
    upstream.dataReceived(b"HTTP/1.1 404 X\r\nContent-Length: %d\r\n\r\n" % len(body))
    for piece in (body[:-1], body[-1:]):
        upstream.dataReceived(piece)
    assert guest.value().endswith(body)
    (refusal,) = rig.proxy.refusals.endpoints.values()
    assert (404, RefusalKind.NOT_NOVA) == (refusal.status, refusal.kind)


def test_an_error_of_head_says_nothing() -> None:
    """It has no words, and a guest may ask so."""
    rig = Rig()
    asked(rig, b"HEAD", HEAD)
    assert rig.proxy.refusals.is_empty


def test_an_endpoint_that_goes_takes_its_refusals_along() -> None:
    """The next one starts with a clean slate."""
    rig = Rig()
    asked(rig, b"GET", HEAD + REFUSAL)
    assert ["127.0.0.1:80"] == list(rig.proxy.refusals.endpoints)
    rig.use("127.0.0.2")
    assert rig.proxy.refusals.is_empty
