"""How one target is asked: its deadline, its token, and how many at once."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.config.model import VendorDataConfig, VendorDataTarget
from vagent.keystone.credentials import CredentialsError, Headers
from vagent.nova.vendordata import target
from vagent.nova.vendordata.answer import Response, TargetError
from vagent.nova.vendordata.http_call import Post
from vagent.nova.vendordata.target import DynamicTarget
from vagent.nova.vendordata.target_tls import TlsContexts

GOOD = Response(200, b"", b'{"a": 1}')


class FakeCredentials:
    """Gives t0, and another one for each that was refused; or fails."""

    def __init__(self) -> None:
        self.number = 0
        self.refusals: list[Headers] = []
        self.renews = True
        self.fails = ""
        self.gate: Deferred[None] | None = None

    async def headers(self) -> Headers:
        if self.gate is not None:
            await self.gate
        if self.fails:
            raise CredentialsError(self.fails)
        return token(self.number)

    def refused(self, headers: Headers) -> None:
        self.refusals.append(headers)
        self.number += self.renews


def token(number: int) -> Headers:
    return (("X-Auth-Token", f"t{number}"),)


class Rig:
    """A target whose calls are answered by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, account: Any = None) -> None:
        self.clock = Clock()
        self.posts: list[Post] = []
        self.contexts: list[Any] = []
        self.answers: list[Any] = []
        monkeypatch.setattr(target, "call", self._call)
        self.target = DynamicTarget(
            VendorDataTarget("a", "http://h/"),
            VendorDataConfig(),
            contexts=TlsContexts(),
            credentials=account,
            reactor=self.clock,
        )

    async def _call(self, post: Post, context: Any, **_: Any) -> Response:
        self.posts.append(post)
        self.contexts.append(context)
        answer = self.answers.pop(0) if self.answers else Deferred()
        response: Response = await answer if isinstance(answer, Deferred) else answer
        return response

    def ask(self) -> list[Any]:
        results: list[Any] = []
        asked = Deferred.fromCoroutine(self.target.ask(b"{}"))
        asked.addCallbacks(
            results.append, lambda failure: results.append(failure.value)
        )
        return results


@pytest.fixture
def account() -> FakeCredentials:
    """Of a Keystone."""
    return FakeCredentials()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, account: FakeCredentials) -> Rig:
    """Asks with account."""
    return Rig(monkeypatch, account)


def failure(results: list[Any]) -> str:
    (error,) = results
    assert isinstance(error, TargetError)
    return f"{error.kind}: {error}"


def test_without_keystone_there_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """And over plain HTTP no TLS."""
    rig = Rig(monkeypatch)
    rig.answers = [GOOD]
    assert [{"a": 1}] == rig.ask()
    assert [()] == [one.headers for one in rig.posts]
    assert [None] == rig.contexts


def test_every_call_has_a_token(rig: Rig) -> None:
    """The server's own."""
    rig.answers = [GOOD]
    assert [{"a": 1}] == rig.ask()
    assert [token(0)] == [one.headers for one in rig.posts]


def test_a_refused_token_is_renewed_once(rig: Rig, account: FakeCredentials) -> None:
    """401 is put once more with another token; a second 401 is the answer."""
    rig.answers = [Response(401, b"", b""), GOOD]
    assert [{"a": 1}] == rig.ask()
    assert [token(0), token(1)] == [one.headers for one in rig.posts]
    rig.answers = [Response(401, b"", b""), Response(401, b"", b""), GOOD]
    assert "status: status 401" == failure(rig.ask())
    assert [token(0), token(1)] == account.refusals


def test_the_same_token_is_not_shown_again(rig: Rig, account: FakeCredentials) -> None:
    """Where Keystone has no other, a second call would only be a second call."""
    account.renews = False
    rig.answers = [Response(401, b"", b"")]
    assert "status: status 401" == failure(rig.ask())
    assert 1 == len(rig.posts)


def test_without_keystone_401_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to renew."""
    rig = Rig(monkeypatch)
    rig.answers = [Response(401, b"", b"")]
    assert "status: status 401" == failure(rig.ask())


def test_no_token_no_call(rig: Rig, account: FakeCredentials) -> None:
    """A target that wants one is never called without."""
    account.fails = "Keystone is away"
    assert "credentials: no credentials: Keystone is away" == failure(rig.ask())
    assert [] == rig.posts


@pytest.mark.parametrize("status", [403, 500, 503])
def test_nothing_else_is_repeated(rig: Rig, status: int) -> None:
    """A second call may undo the first."""
    rig.answers = [Response(status, b"", b""), GOOD]
    assert f"status: status {status}" == failure(rig.ask())
    assert 1 == len(rig.posts)


def test_one_deadline_for_all_of_it(rig: Rig, account: FakeCredentials) -> None:
    """The wait for a token counts."""
    account.gate = Deferred()
    results = rig.ask()
    rig.clock.advance(5)
    account.gate.callback(None)
    rig.clock.advance(2.9)
    assert [] == results
    rig.clock.advance(0.1)
    assert "timeout: no answer within 8 s" == failure(results)
    assert not rig.clock.getDelayedCalls()


def test_calls_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """64; the next one waits, and goes when one is done, or ends with its time."""
    first: Deferred[Response] = Deferred()
    rig.answers = [first]
    for _ in range(64):
        rig.ask()
    assert 64 == len(rig.posts)
    rig.clock.advance(1)
    late, later = rig.ask(), rig.ask()
    assert 64 == len(rig.posts)
    first.callback(GOOD)
    assert 65 == len(rig.posts)
    rig.clock.advance(8)
    assert "timeout: no answer within 8 s" == failure(late) == failure(later)
    rig.answers = [GOOD]
    assert [{"a": 1}] == rig.ask(), "each place was given back"
