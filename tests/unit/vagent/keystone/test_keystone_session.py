"""A session of keystoneauth1, with plug-ins that ask nobody."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.config.model import AuthOption, ServiceCredentials
from vagent.keystone.credentials import CredentialsError
from vagent.keystone.session import MAX_TEXT, KeystoneSession


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("keystoneauth1", reason="the extra keystone is not installed")


def session(auth_type: str, **options: str) -> KeystoneSession:
    return KeystoneSession(
        ServiceCredentials(
            auth_type,
            tuple(
                AuthOption(name, one, is_secret=True) for name, one in options.items()
            ),
        )
    )


def test_headers_of_a_token() -> None:
    """As the plug-in gives them, sorted."""
    made = session("admin_token", endpoint="http://x/", token="t0k3n")
    assert (("X-Auth-Token", "t0k3n"),) == made.headers()


def test_headers_that_are_no_token() -> None:
    """HTTP basic authentication, for services without Keystone."""
    made = session("http_basic", username="u", password="p", endpoint="http://x/")
    assert (("Authorization", "Basic dTpw"),) == made.headers()


def test_a_plug_in_without_credentials() -> None:
    """`none` shows something that nobody looks at."""
    assert (("X-Auth-Token", "notused"),) == session("none").headers()


def test_one_session_is_used_again() -> None:
    """It keeps the token and the connection to Keystone."""
    made: Any = session("admin_token", endpoint="http://x/", token="t")
    made.headers()
    first = made._session
    made.headers()
    assert first is made._session


def test_options_that_do_not_fit() -> None:
    """Are told when it is used, if nobody has checked them."""
    with pytest.raises(CredentialsError, match="auth_url"):
        session("password").headers()


class FakeSession:
    """Gives tokens, or raises."""

    def __init__(self) -> None:
        self.number = 0
        self.error: Exception | None = None
        self.found: dict[str, str] | None = {"X-Auth-Token": "t0"}

    def get_auth_headers(self) -> dict[str, str] | None:
        if self.error is not None:
            raise self.error
        return self.found

    def invalidate(self) -> bool:
        self.number += 1
        return True


@pytest.fixture
def fake() -> FakeSession:
    """In the place of keystoneauth1's."""
    return FakeSession()


@pytest.fixture
def made(fake: FakeSession) -> KeystoneSession:
    """A session with it."""
    result: Any = session("none", endpoint="x")
    result._session = fake
    session_: KeystoneSession = result
    return session_


def test_what_was_refused_is_forgotten_once(
    fake: FakeSession, made: KeystoneSession
) -> None:
    """If ten calls are refused with one token, one new token is fetched."""
    old = made.headers()
    made.refused(old)
    assert 1 == fake.number
    fake.found = {"X-Auth-Token": "t1"}
    made.headers()
    made.refused(old)
    assert 1 == fake.number


def test_a_refusal_before_anything_was_given() -> None:
    """Changes nothing."""
    session("none", endpoint="x").refused((("X-Auth-Token", "t"),))


def test_reasons_are_one_line_and_short(
    fake: FakeSession, made: KeystoneSession
) -> None:
    """Keystone's error pages may be long, and a plug-in may raise anything."""
    fake.error = RuntimeError("a\n  b " + "x" * 1000)
    with pytest.raises(CredentialsError) as caught:
        made.headers()
    assert str(caught.value).startswith("a b xxx")
    assert MAX_TEXT + 1 == len(str(caught.value))
    fake.error = KeyError()
    with pytest.raises(CredentialsError, match="KeyError"):
        made.headers()


def test_no_headers_at_all(fake: FakeSession, made: KeystoneSession) -> None:
    """keystoneauth1 gives None where a plug-in failed without a word."""
    fake.found = None
    with pytest.raises(CredentialsError, match="gives no credentials"):
        made.headers()
