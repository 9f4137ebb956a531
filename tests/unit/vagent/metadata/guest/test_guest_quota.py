"""A guest's share: how fast, how many, what it is told beyond, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import GET, HELLO, Rig
from vagent.config.model import SessionMode
from vagent.metadata.guest.quota import (
    GuestQuota,
    GuestQuotas,
    QuotaLimits,
    status_when_over,
)
from vagent.metadata.limits import MAX_QUOTAS, OVER_RATE_SECONDS
from vagent.metadata.snapshot import (
    MAX_GUEST_ROWS,
    GuestLimits,
    GuestSnapshot,
    conspicuous,
)
from vagent.transport.deadlines import TICK_SECONDS

ELSEWHERE = b"GET /latest/whoami HTTP/1.1\r\nHost: a\r\n\r\n"


@given(
    rate=st.floats(0.1, 10_000.0),
    burst=st.integers(1, 50),
    now=st.floats(1.0, 4e9),
)
def test_a_burst_and_not_one_more(rate: float, burst: int, now: float) -> None:
    """At one moment exactly `burst` requests pass."""
    quota, limits = GuestQuota(), QuotaLimits(rate, burst, 1)
    passed = [quota.take_token(limits, now) for _ in range(burst + 3)]
    assert [True] * burst + [False] * 3 == passed


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=200))
def test_never_more_than_the_rate_and_a_burst(pauses: list[float]) -> None:
    """Over any stretch of time from the beginning."""
    quota, limits = GuestQuota(), QuotaLimits(10.0, 5, 1)
    now, passed = 1000.0, 0
    for pause in pauses:
        now += pause
        passed += quota.take_token(limits, now)
    assert passed <= 5 + 10.0 * (now - 1000.0) + 0.51


def test_one_that_keeps_to_the_rate_is_never_refused() -> None:
    """A request in each interval, for ever."""
    quota, limits = GuestQuota(), QuotaLimits(3.0, 1, 1)
    assert all(quota.take_token(limits, 1e9 + number / 3.0) for number in range(1000))


def test_without_a_rate_there_is_no_limit() -> None:
    """0 turns it off."""
    quota = GuestQuota()
    assert all(quota.take_token(QuotaLimits(0.0, 1, 1), 5.0) for _ in range(1000))


@pytest.mark.parametrize(
    "path",
    [
        *(b"/", b"/openstack", b"/openstack/", b"/openstack/2018-08-27/meta_data.json"),
        *(b"/latest/meta-data", b"/2009-04-04/meta-data/instance-id", b"/latest"),
        *(b"/latest/user-data", b"/2016-09-02/dynamic/instance-identity/document"),
        *(b"/ec2/latest/meta-data/", b"/ec2/", b"/ec2", b"/1.0/"),
        *(b"/nocloud/meta-data", b"/nocloud"),
        *(b"/latest/api/token", b"/openstack/latest/user_data"),
    ],
)
def test_paths_of_a_boot(path: bytes) -> None:
    """cloud-init takes 429 for a final answer, so it gets 503."""
    assert 503 == status_when_over(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/openstackx",
        b"/nocloudx",
        b"/computeMetadata/v1/",
        b"/latest/whoami",
        b"/x/y/meta-data",
    ],
)
def test_other_paths(path: bytes) -> None:
    """429 says what it is."""
    assert 429 == status_when_over(path)


def test_quotas_are_bounded() -> None:
    """An idle one makes room, and one with connections never does."""
    quotas = GuestQuotas()
    rig = Rig()
    quotas.of("0").connections.add(rig.guest()[0])
    for number in range(1, MAX_QUOTAS):
        quotas.of(str(number))
    assert quotas.find("1")
    quotas.of("new")
    assert (MAX_QUOTAS, True, None) == (
        len(quotas.all()),
        quotas.find("0") is not None,
        quotas.find("1"),
    )


def test_too_fast() -> None:
    """503 or 429 with Retry-After, the connection stays, the upstream sees nothing;
    connecting again does not help, waiting does. After a refusal the connection is not
    read for a while, so refusing costs less than serving.
    """
    rig = Rig(guest_request_rate=0.1, guest_request_burst=2)
    guest, transport = rig.guest()
    for _ in range(2):
        guest.dataReceived(GET)
        rig.connections[0].dataReceived(HELLO)
        transport.take()
    guest.dataReceived(GET)
    assert transport.take().startswith(b"HTTP/1.1 503 ")
    assert "paused" == transport.reading
    guest.dataReceived(ELSEWHERE * 2)
    rig.advance(OVER_RATE_SECONDS - TICK_SECONDS)
    assert b"" == transport.sent
    rig.advance(TICK_SECONDS)
    reply = transport.take()
    assert 1 == reply.count(b"HTTP/1.1 ")
    assert reply.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Retry-After: 1\r\n" in reply
    guest.connectionLost(Failure(ConnectionLost()))
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    assert transport.take().startswith(b"HTTP/1.1 503 ")
    _, other = rig.guest("169.254.64.3")
    rig.advance(10.0)
    assert "on" == transport.reading
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == transport.take()
    assert ["too-fast"] * 3 == rig.labels()
    assert "open" == other.state
    (shown,) = rig.proxy.snapshot().conspicuous
    assert ("169.254.64.2", 3) == (shown.identity, shown.limited)


def test_cached_responses_count_as_requests() -> None:
    """The limit is on what the guest makes the agent do."""
    rig = Rig(cache_ttl=15.0, guest_request_rate=1.0, guest_request_burst=2)
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    guest.dataReceived(GET)
    assert transport.sent.startswith(HELLO + HELLO + b"HTTP/1.1 503 ")


@pytest.mark.parametrize("cache_ttl", [0.0, 15.0])
def test_in_flight(cache_ttl: float) -> None:
    """One more than may wait is turned away; each that is over makes room; what is
    answered from the cache does not wait.
    """
    rig = Rig(cache_ttl=cache_ttl, max_guest_requests=2)
    paths = [GET, ELSEWHERE, ELSEWHERE.replace(b"who", b"what")]
    guests = [rig.guest() for _ in paths]
    for (guest, _), request in zip(guests, paths, strict=True):
        guest.dataReceived(request)
    assert guests[2][1].take().startswith(b"HTTP/1.1 429 ")
    assert ["too-many-requests"] == rig.labels()
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == guests[0][1].take()
    guests[2][0].dataReceived(paths[2])
    assert b"" == guests[2][1].sent
    guests[0][0].dataReceived(GET)
    expected = HELLO if cache_ttl else b"HTTP/1.1 503 "
    assert guests[0][1].take().startswith(expected)
    for guest, _ in guests:
        guest.connectionLost(Failure(ConnectionLost()))
    guest, transport = rig.guest()
    guest.dataReceived(ELSEWHERE)
    assert b"" == transport.sent


def test_a_successor_starts_afresh() -> None:
    """Who gets the identity next does not pay for its predecessor."""
    rig = Rig(guest_request_rate=0.001, guest_request_burst=1)
    guest, _ = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    rig.proxy.forget("169.254.64.2")
    guest.connectionLost(Failure(ConnectionLost()))
    assert () == rig.proxy.snapshot().conspicuous
    guest, transport = rig.guest()
    guest.dataReceived(GET)
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == transport.take()


def test_pages_show_the_limits_and_who_meets_them() -> None:
    """What one guest may have, and who wanted more: by its port, as numbers."""
    rig = Rig(max_guest_connections=1)
    for _ in range(3):
        rig.guest()
    snapshot = rig.proxy.snapshot()
    assert GuestLimits(1, 32, 500.0, 1000) == snapshot.limits
    assert SessionMode.OFF is snapshot.session_tokens
    (guest,) = snapshot.conspicuous
    assert ("p", "169.254.64.2", 2) == (guest.port_id, guest.identity, guest.limited)
    rig.registration = None
    (guest,) = rig.proxy.snapshot().conspicuous
    assert "" == guest.port_id


def test_only_the_worst_are_shown() -> None:
    """However many guests misbehave, the page stays short."""
    guests = [GuestSnapshot("", str(number), 0, 0, number, 0) for number in range(100)]
    shown = conspicuous(guests)
    assert (MAX_GUEST_ROWS, "99") == (len(shown), shown[0].identity)
