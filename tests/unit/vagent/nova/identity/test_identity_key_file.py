"""The file of identity keys: private, durable, never lost, rotated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.vagent.nova.identity.made_keys import NOW, Maker, made
from vagent.nova.identity.events import IdentityKeysNotKept, IdentityKeysRotated
from vagent.nova.identity.key_file import IdentityKeyFile
from vagent.nova.identity.keys import ROTATE_SECONDS, KeyRing, encode
from vagent.nova.identity.signatures import key_id
from vagent.observe.event import Event


class Rig:
    """A file in a folder, a clock, and what is reported."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "identity-keys"
        self.date = NOW
        self.events: list[Event] = []
        self.maker = Maker()

    def start(self) -> IdentityKeyFile:
        """As an agent that starts."""
        return IdentityKeyFile(
            self.path,
            name="host",
            now=lambda: self.date,
            emit=self.events.append,
            make=self.maker,
        )

    def faults(self) -> list[str]:
        return [e.detail for e in self.events if isinstance(e, IdentityKeysNotKept)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_first_keys(rig: Rig) -> None:
    """They are made when they are needed, in a file that nobody else can read."""
    keys = rig.start()
    assert not rig.path.exists()
    assert (made(1), made(2)) == keys.ring().keys
    assert 0o600 == rig.path.stat().st_mode & 0o777
    assert [rig.path] == list(rig.path.parent.iterdir())
    (event,) = rig.events
    assert IdentityKeysRotated(key_id(made(1))) == event
    assert f"signed by key {key_id(made(1))}" in event.text()


def test_a_start_reads_them(rig: Rig) -> None:
    """Verifiers go on with the keys that they have."""
    first = rig.start().ring()
    assert first == rig.start().ring()
    assert 2 == rig.maker.made


def test_they_are_read_once(rig: Rig) -> None:
    """Not for each signature."""
    keys = rig.start()
    first = keys.ring()
    rig.path.unlink()
    assert first is keys.ring()


def test_rotation(rig: Rig) -> None:
    """When it is time, also over a start; the next key was published all the while."""
    keys = rig.start()
    published = keys.ring().keys
    rig.date += ROTATE_SECONDS
    ring = keys.ring()
    assert published[1] == ring.current
    assert (made(1), made(2), made(3)) == ring.keys
    assert rig.date == ring.since
    assert ring == rig.start().ring()
    rig.date += ROTATE_SECONDS
    assert made(3) == rig.start().ring().current
    assert IdentityKeysRotated(key_id(made(3))) == rig.events[-1]


@pytest.mark.parametrize("content", [b"", b"{", encode(KeyRing(NOW, (made(1),)))])
def test_a_file_that_is_none_is_set_aside(rig: Rig, content: bytes) -> None:
    """New keys sign; what was there is kept under another name, and it is said."""
    rig.path.write_bytes(content)
    rig.path.chmod(0o600)
    ring = rig.start().ring()
    aside = rig.path.with_name("identity-keys.unusable")
    assert content == aside.read_bytes()
    (said,) = rig.faults()
    assert str(rig.path) in said
    assert str(aside) in said
    assert ring == rig.start().ring()


def test_a_file_that_others_may_read(rig: Rig) -> None:
    """Its keys may be known to anybody, so they sign no more."""
    rig.start().ring()
    rig.path.chmod(0o640)
    assert made(3) == rig.start().ring().current
    assert "others may read it" in rig.faults()[0]
    (fault,) = [one for one in rig.events if one.is_fault()]
    assert f"identity keys: {rig.path}: others may read it" in fault.text()
    assert 0o600 == rig.path.stat().st_mode & 0o777


def test_a_disk_that_is_full(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys serve while the agent runs, and the operator is told."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    keys = rig.start()
    assert keys.ring() is keys.ring()
    assert not rig.path.exists()
    assert "No space left on device; lost with the next start" in rig.faults()[0]


def test_what_a_killed_agent_left_is_no_hindrance(rig: Rig) -> None:
    """It was killed while it wrote."""
    rig.path.with_name("identity-keys.new").write_bytes(b"half")
    assert rig.start().ring() == rig.start().ring()
    assert [rig.path] == list(rig.path.parent.iterdir())


def test_a_folder_in_its_place(rig: Rig) -> None:
    """It cannot be read, and is set aside as well."""
    rig.path.mkdir()
    assert rig.start().ring() == rig.start().ring()


def test_what_is_set_aside_is_in_the_way(rig: Rig) -> None:
    """Neither of the two is lost."""
    aside = rig.path.with_name("identity-keys.unusable")
    (aside / "x").mkdir(parents=True)
    rig.path.mkdir()
    (rig.path / "y").mkdir()
    rig.start().ring()
    assert (aside / "x").is_dir()
    assert (rig.path / "y").is_dir()
    assert 3 == len(rig.faults())
