"""Session tokens through the proxy: who gets one, what it opens, what is told."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.vagent.metadata.proxy_rig import (
    GET,
    HELLO,
    REGISTRATION,
    Rig,
)
from vagent.config.model import SessionMode
from vagent.metadata.http.parsed_heads import RequestHeadParser
from vagent.metadata.http.request_head import RequestHead, parse_request_head
from vagent.metadata.imds_v2.events import TokenMissed
from vagent.metadata.imds_v2.keys import SessionKeys
from vagent.metadata.imds_v2.sessions import IssueToken, Sessions
from vagent.ports.port import PortTokens

AMAZON = b"X-aws-ec2-metadata-token"
PLAIN = b"X-metadata-token"


def put(*lines: bytes, ttl: bytes = b"60", path: bytes = b"/latest/api/token") -> bytes:
    asked = (AMAZON + b"-ttl-seconds: " + ttl,) if ttl else ()
    fields = b"".join(line + b"\r\n" for line in (*asked, *lines))
    return b"PUT %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, fields)


def get(token: bytes, family: bytes = AMAZON) -> bytes:
    return GET[:-2] + b"%b: %b\r\n\r\n" % (family, token)


class Site(Rig):
    """A proxy that knows sessions."""

    def __init__(self, folder: Path, mode: SessionMode, **changes: object) -> None:
        super().__init__(**changes)
        self.boot_seconds = 1000.0
        keys = SessionKeys(
            folder / "session-keys",
            boot="boot",
            now=lambda: self.boot_seconds,
            entropy=os.urandom,
            emit=self.events.append,
        )
        sessions = Sessions(mode, keys)
        sessions.load()
        self.proxy._sessions = sessions

    def answer(self, request: bytes) -> bytes:
        """What a new connection gets, the upstream saying hello."""
        guest, transport = self.guest()
        guest.dataReceived(request)
        if not transport.sent:
            self.connections[-1].dataReceived(HELLO)
        return transport.sent

    def status(self, request: bytes) -> int:
        return int(self.answer(request)[9:12])

    def token(self) -> bytes:
        return self.answer(put()).rpartition(b"\r\n")[2]

    def sent(self) -> bytes:
        return b"".join(one.sent for one in self.upstreams)


@pytest.fixture
def required(tmp_path: Path) -> Site:
    return Site(tmp_path, SessionMode.REQUIRED)


ON = [mode for mode in SessionMode if mode is not SessionMode.OFF]


@pytest.mark.parametrize("family", [AMAZON, PLAIN])
@pytest.mark.parametrize("mode", ON)
def test_a_guest_gets_a_token_and_uses_it(
    mode: SessionMode, family: bytes, tmp_path: Path
) -> None:
    """In both spellings, each answered in its own; the upstream sees nothing of it."""
    site = Site(tmp_path, mode)
    reply = site.answer(put(family + b"-ttl-seconds: 60", ttl=b""))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert family + b"-ttl-seconds: 60\r\n" in reply
    assert b"Cache-Control: no-store\r\n" in reply
    token = reply.rpartition(b"\r\n")[2]
    assert b"Content-Length: %d\r\n" % len(token) in reply
    assert b"" == site.sent()
    assert HELLO == site.answer(get(token, family))
    assert token not in site.sent()
    assert b"metadata-token" not in site.sent()


def say(site: Rig, tokens: PortTokens) -> None:
    """The port is registered again, with this said of its tokens."""
    port = replace(REGISTRATION.port, session_tokens=tokens)
    site.registration = replace(REGISTRATION, port=port)


@pytest.mark.parametrize("mode", list(SessionMode))
@pytest.mark.parametrize("said", list(PortTokens))
def test_a_port_has_its_own_mode_or_that_of_all(
    said: PortTokens, mode: SessionMode, tmp_path: Path
) -> None:
    """What is said of a port goes first, whatever agent.conf says."""
    site = Site(tmp_path, mode)
    say(site, said)
    in_force = mode if said in ("", "default") else SessionMode(said)
    wrong = 200 if in_force in ("off", "audit") else 401
    none = 401 if in_force in ("required", "required-ec2") else 200
    assert none == site.status(GET)
    assert wrong == site.status(get(b"nonsense"))
    missed = [one.missed for one in site.proxy.snapshot().conspicuous]
    assert ([2] if in_force == "audit" else []) == missed


def test_a_mode_is_in_force_at_the_next_request(tmp_path: Path) -> None:
    """Also on a connection that is open, and a token from before stays good."""
    site = Site(tmp_path, SessionMode.OPTIONAL)
    token = site.token()
    guest, transport = site.guest()
    guest.dataReceived(GET)
    site.connections[-1].dataReceived(HELLO)
    say(site, PortTokens.REQUIRED)
    transport.take()
    guest.dataReceived(GET)
    assert transport.take().startswith(b"HTTP/1.1 401 ")
    guest.dataReceived(get(token))
    site.connections[-1].dataReceived(HELLO)
    assert HELLO == transport.take()


@pytest.mark.parametrize("makes", [Rig, Site])
def test_off_is_transparent(makes: type[Rig], tmp_path: Path) -> None:
    """A request for a token is the upstream's business, then."""
    rig = makes() if makes is Rig else Site(tmp_path, SessionMode.OFF)
    guest, transport = rig.guest()
    guest.dataReceived(put())
    assert rig.upstreams[0].sent.startswith(b"PUT /latest/api/token HTTP/1.1\r\n")
    rig.connections[0].dataReceived(HELLO)
    assert HELLO == transport.sent


@pytest.mark.parametrize("ttl", [b"1", b"21600"])
def test_ttl_up_to_its_limits(required: Site, ttl: bytes) -> None:
    """Amazon's: one second to six hours, and it ends then."""
    token = required.answer(put(ttl=ttl)).rpartition(b"\r\n")[2]
    required.boot_seconds += int(ttl) - 0.5
    assert 200 == required.status(get(token))
    required.boot_seconds += 0.5
    assert 401 == required.status(get(token))
    assert ["expired-token"] == required.labels()


@pytest.mark.parametrize(
    "ttl", [b"", b"0", b"21601", b"-1", b"+1", b"1.0", b"x", b"999999", b"60, 60"]
)
def test_bad_ttl(required: Site, ttl: bytes) -> None:
    """400, and no token."""
    assert 400 == required.status(put(ttl=ttl))
    assert ["bad-token-ttl"] == required.labels()


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-For",
        b"x-forwarded-for",
        b"X-FORWARDED-FOR",
        b"x_forwarded_for",
        b"X_Forwarded-For",
        b"Forwarded",
        b"Via",
    ],
)
@pytest.mark.parametrize("value", [b"", b"1.2.3.4"])
def test_a_forwarded_request_gets_no_token(
    required: Site, name: bytes, value: bytes
) -> None:
    """403 in any spelling: an open proxy in the guest asks for somebody else."""
    assert 403 == required.status(put(name + b": " + value))
    assert ["forwarded-token-request"] == required.labels()


def test_who_is_not_said_to_be_far_is_near(required: Site) -> None:
    """Hops are only looked at where they are limited."""
    assert required.proxy._sessions is not None
    request = parse_request_head(put())
    assert isinstance(request, RequestHead)
    decision = required.proxy._sessions.decide(request, REGISTRATION)
    assert isinstance(decision, IssueToken)


@pytest.mark.parametrize(
    "path",
    [b"/2021-03/api/token", b"/latest/api/token/x", b"/latest/api", b"/api/token"],
)
def test_no_other_path_gives_tokens(required: Site, path: bytes) -> None:
    """A PUT elsewhere is a request like others: it needs a token itself."""
    assert 401 == required.status(put(path=path))


@pytest.mark.parametrize("version", [b"latest", b"1.0", b"2009-04-04", b"2021-03-23"])
def test_every_version_gives_tokens(required: Site, version: bytes) -> None:
    """Clients put the version that they speak in front."""
    assert 200 == required.status(put(path=b"/%b/api/token" % version))


def test_the_path_in_any_spelling(required: Site) -> None:
    """It is compared when it is canonical."""
    assert 200 == required.status(put(path=b"//latest/./%61pi/token"))


def test_each_token_is_its_own(required: Site) -> None:
    """Two asked for in the same second differ."""
    assert required.token() != required.token()


def test_who_needs_a_token_is_told_how(required: Site) -> None:
    """RFC 9110: a 401 has a challenge."""
    assert b"\r\nWWW-Authenticate: X-aws-ec2-metadata-token" in required.answer(GET)


def test_an_empty_token_is_a_wrong_one(tmp_path: Path) -> None:
    """Also where tokens are optional."""
    site = Site(tmp_path, SessionMode.OPTIONAL)
    assert 401 == site.status(get(b""))
    assert 401 == site.status(get(b" "))


@pytest.mark.parametrize("other", [AMAZON, PLAIN])
def test_tokens_that_differ_are_refused(required: Site, other: bytes) -> None:
    """In either spelling; the same one twice is one."""
    token = required.token()
    twice = get(token)[:-2] + b"%b: %b\r\n\r\n" % (other, token)
    assert 200 == required.status(twice)
    differing = get(token)[:-2] + b"%b: nonsense\r\n\r\n" % other
    assert 400 == required.status(differing)


def test_lifetimes_that_differ_are_refused(required: Site) -> None:
    """It is not for us to choose."""
    assert 400 == required.status(put(AMAZON + b"-ttl-seconds: 7"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", 401),
        (b"/latest/meta-data/", 401),
        (b"/openstackx", 401),
        (b"/nocloud/meta-data", 200),
        (b"/nocloudx/meta-data", 401),
        (b"/openstack", 200),
        (b"/openstack/", 200),
        (b"/openstack/latest/meta_data.json", 200),
        (b"/openstack/../latest/user-data", 401),
    ],
)
def test_required_for_the_tree_of_amazon_alone(
    tmp_path: Path, path: bytes, expected: int
) -> None:
    """No client of Nova's own tree can ask for a token. A wrong one is wrong there."""
    site = Site(tmp_path, SessionMode.REQUIRED_EC2)
    request = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path
    assert expected == site.status(request)
    for token, status in ((site.token(), 200), (b"nonsense", 401)):
        shown = request[:-2] + b"%b: %b\r\n\r\n" % (AMAZON, token)
        assert status == site.status(shown)


@pytest.mark.parametrize(
    ("mode", "without", "wrong"),
    [
        (SessionMode.OPTIONAL, 200, 401),
        (SessionMode.REQUIRED, 401, 401),
        (SessionMode.REQUIRED_EC2, 401, 401),
        (SessionMode.AUDIT, 200, 200),
    ],
)
def test_what_each_mode_refuses(
    mode: SessionMode, without: int, wrong: int, tmp_path: Path
) -> None:
    """No token, and one that is none."""
    site = Site(tmp_path, mode)
    assert (without, wrong) == (site.status(GET), site.status(get(b"nonsense")))


def test_audit_tells_what_required_would_refuse(tmp_path: Path) -> None:
    """Counted by reason and traced with the guest; nothing is told of good requests."""
    site = Site(tmp_path, SessionMode.AUDIT)
    site.status(get(site.token()))
    site.status(GET)
    site.status(get(b"nonsense"))
    assert ["no-token", "malformed-token"] == site.labels()
    texts = [e.text() for e in site.events if isinstance(e, TokenMissed)]
    assert "Metadata for VM : 10.0.0.3 Audit : no-token URL : " == texts[0]


def test_a_token_is_its_guests_alone(required: Site) -> None:
    """Shown by the next instance at the same identity, it is nothing."""
    token = required.token()
    assert 200 == required.status(get(token))
    required.registration = replace(
        REGISTRATION, port=replace(REGISTRATION.port, instance_id="j")
    )
    assert 401 == required.status(get(token))
    assert ["foreign-token"] == required.labels()


def test_a_token_outlives_the_agent(required: Site, tmp_path: Path) -> None:
    """Another process with the same state directory takes it."""
    token = required.token()
    assert 200 == Site(tmp_path, SessionMode.REQUIRED).status(get(token))


def test_what_is_kept_needs_a_token_too(tmp_path: Path) -> None:
    """The cache is behind the tokens, and shared between good ones."""
    site = Site(tmp_path, SessionMode.REQUIRED, cache_ttl=15.0)
    token = site.token()
    assert 200 == site.status(get(token))
    assert 401 == site.status(GET)
    site.boot_seconds += 1
    assert HELLO == site.answer(get(site.token()))
    assert 1 == site.sent().count(b"GET ")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_hops_are_limited_for_good(
    tmp_path: Path, family: socket.AddressFamily
) -> None:
    """What is sent again after a loss goes as far as the limit of that moment, so the
    next request must not lift it.
    """
    site = Site(tmp_path, SessionMode.OPTIONAL, hop_limit=3)
    guest, transport = site.guest()
    transport.family = family
    guest.dataReceived(put())
    option = (
        (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, socket.IP_TTL)
    )
    assert [(*option, 3)] == transport.options
    guest.dataReceived(GET)
    site.connections[0].dataReceived(HELLO)
    guest.dataReceived(GET)
    assert [(*option, 3)] == transport.options


def opened_with(ttl: int) -> bytes:
    """The packet that a connection was opened with."""
    return b"\x45" + bytes(7) + bytes((ttl,)) + bytes(31)


def far(site: Site, request: bytes, ttl: int) -> bytes:
    """The answer to a client whose packets arrive with this TTL; two requests."""
    guest, transport = site.guest()
    transport.opening = opened_with(ttl)
    for _ in range(2):
        transport.take()
        guest.dataReceived(request)
        if not transport.sent:
            site.connections[-1].dataReceived(HELLO)
    return transport.sent


@pytest.mark.parametrize(("hops", "is_far"), [(0, False), (1, False), (2, True)])
@pytest.mark.parametrize("initial", [64, 128, 255])
def test_who_is_beyond_the_hop_limit_is_told(
    tmp_path: Path, initial: int, hops: int, is_far: bool
) -> None:
    """403 instead of a token that would not arrive, with a line that says why."""
    site = Site(
        tmp_path, SessionMode.OPTIONAL, hop_limit=2, refuse_beyond_hop_limit=True
    )
    told = far(site, put(), initial - hops)
    assert (b"403" if is_far else b"200") == told[9:12]
    assert is_far == (b"came through a router" in told)
    assert (["too-far"] * 2 if is_far else []) == site.labels()
    if is_far:
        head, _, body = told.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        assert 1 == body.count(b"\n")


def test_who_is_too_far_gets_nothing_else_either(tmp_path: Path) -> None:
    """Also with a good token, and without a body that a script could mistake."""
    site = Site(tmp_path, SessionMode.OPTIONAL, refuse_beyond_hop_limit=True)
    for request in (GET, get(site.token())):
        told = far(site, request, 63)
        assert told.startswith(b"HTTP/1.1 403 ")
        assert told.endswith(b"\r\n\r\n")
    assert b"" == site.sent()


@pytest.mark.parametrize("switch", [False, True])
def test_far_clients_are_served_where_nothing_says_otherwise(
    tmp_path: Path, switch: bool
) -> None:
    """The switch is off, or the guest's tokens are; an unknown TTL is no distance."""
    mode = SessionMode.OFF if switch else SessionMode.OPTIONAL
    site = Site(tmp_path, mode, refuse_beyond_hop_limit=switch)
    assert HELLO == far(site, GET, 63)
    assert [] == site.labels()
    unknown = Site(tmp_path, SessionMode.OPTIONAL, refuse_beyond_hop_limit=True)
    assert 200 == unknown.status(put())


def test_audit_counts_who_is_too_far(tmp_path: Path) -> None:
    """And refuses nothing; the reply with the token is limited all the same."""
    site = Site(tmp_path, SessionMode.AUDIT, refuse_beyond_hop_limit=True)
    assert far(site, put(), 63).startswith(b"HTTP/1.1 200 ")
    assert HELLO == far(site, GET, 63)
    assert ["too-far"] * 4 == site.labels()


def test_tokens_do_not_show(tmp_path: Path) -> None:
    """In no event, trace, snapshot or repr."""
    site = Site(tmp_path, SessionMode.AUDIT)
    token = site.token()
    head = get(token)
    assert HELLO == site.answer(head)
    request = parse_request_head(head)
    shown = " ".join(
        (
            repr(request),
            repr(site.proxy.snapshot()),
            *(repr(event) + event.text() for event in site.events),
        )
    )
    assert token.decode() not in shown
    assert re.search("TokenIssued", shown)


def test_heads_with_tokens_are_not_remembered() -> None:
    """Others are: a token would stay in memory after its connection has closed."""
    parse, head = RequestHeadParser().parse, get(b"token")
    assert parse(head) is not parse(head)
    assert parse(GET) is parse(GET)
