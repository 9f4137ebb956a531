"""The keys' file: tokens outlive the agent, not the boot; keys turn; modes are 0600."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.metadata.imds_v2.keys import (
    KEY_BYTES,
    ROTATE_SECONDS,
    KeyPair,
    SessionKeys,
    decode,
    encode,
)
from vagent.metadata.imds_v2.sessions import MAX_TTL
from vagent.observe.event import Event

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
BOOT = "3ad6de53-26a2-4d1e-8c1e-2b9a4d0a0b1c"


class Host:
    """A boot, a clock, keys that count up, and what was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.boot = BOOT
        self.now = 10.0
        self.made = 0
        self.events: list[Event] = []

    def entropy(self, size: int) -> bytes:
        self.made += 1
        return bytes((self.made,)) * size

    def keys(self) -> SessionKeys:
        made = SessionKeys(
            self.path,
            boot=self.boot,
            now=lambda: self.now,
            entropy=self.entropy,
            emit=self.events.append,
        )
        made.load()
        return made


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "session-keys")


@given(st.integers(0, 255), st.floats(0, 1e9), KEYS, st.one_of(st.just(b""), KEYS))
def test_what_is_written_reads_back(
    number: int, made: float, current: bytes, previous: bytes
) -> None:
    """In the same boot; in another one it is nobody's."""
    pair = KeyPair(number, made, current, previous)
    assert pair == decode(encode(pair, BOOT), BOOT)
    assert decode(encode(pair, BOOT), "another") is None


def test_a_restart_keeps_the_keys(host: Host) -> None:
    """And nothing is said about it."""
    first = host.keys().pair()
    assert first == host.keys().pair()
    assert 0o600 == host.path.stat().st_mode & 0o777
    assert [] == host.events


def test_a_boot_makes_new_ones(host: Host) -> None:
    """Time starts again with the boot, so old tokens must not."""
    first = host.keys().pair()
    host.boot, host.now = "another", 5.0
    assert first.current not in (
        host.keys().pair().current,
        host.keys().pair().previous,
    )


@pytest.mark.parametrize(
    ("seconds", "turned"), [(ROTATE_SECONDS - 1, False), (ROTATE_SECONDS, True)]
)
def test_keys_turn_and_the_last_one_still_opens(
    host: Host, seconds: float, turned: bool
) -> None:
    """A token lives less long than a key, so two are enough; the turn is written."""
    keys = host.keys()
    first = keys.pair()
    host.now += seconds
    assert turned is (keys.pair() != first)
    assert first.current == keys.pair().key_of(first.number)
    assert keys.pair() == host.keys().pair()
    assert MAX_TTL < ROTATE_SECONDS
    host.now += 2 * ROTATE_SECONDS
    keys.pair()
    host.now += ROTATE_SECONDS
    assert keys.pair().key_of(first.number) is None


def test_numbers_go_round() -> None:
    """After 255 comes 0, and its predecessor is 255."""
    pair = KeyPair(255, 0.0, b"a").next(b"b", 1.0)
    assert (0, b"b", b"a", None) == (
        pair.number,
        pair.key_of(0),
        pair.key_of(255),
        pair.key_of(1),
    )


def spoil(host: Host, how: Callable[[Path], object]) -> None:
    host.keys()
    how(host.path)


@pytest.mark.parametrize(
    "how",
    [
        lambda path: path.chmod(0o640),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[]"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"01", b"1", 1)),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(b"9" * 5000),
    ],
    ids=["readable", "empty", "list", "short-key", "cut", "long"],
)
def test_a_file_that_cannot_be_trusted(
    host: Host, how: Callable[[Path], object]
) -> None:
    """New keys, one warning without a key in it, and a good file again."""
    spoil(host, how)
    pair = host.keys().pair()
    assert bytes((2,)) * KEY_BYTES == pair.current
    (told,) = host.events
    assert "01" * 4 not in told.text()
    assert pair == host.keys().pair()
    assert 0o600 == host.path.stat().st_mode & 0o777


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """Tokens work; that they will not outlive the agent is told."""
    host = Host(tmp_path / "missing" / "session-keys")
    assert host.keys().pair().current
    assert ["SessionKeysNotKept"] == [type(event).__name__ for event in host.events]


def test_the_first_number_says_nothing_of_the_time_since_boot(tmp_path: Path) -> None:
    """It shows in tokens and grows by one a day, so it begins anywhere."""
    host = Host(tmp_path / "session-keys")
    host.made = 76
    assert 77 == host.keys().pair().number


def test_keys_do_not_show() -> None:
    """Not in a repr."""
    shown = repr(KeyPair(1, 0.0, b"secret-1", b"secret-2"))
    assert "secret" not in shown
