"""Ends of certificates are told in time, once for each stage, whatever happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from lab.pki import Authority
from vagent.certificates.events import CertificateEnded
from vagent.certificates.expiry_watch import (
    LOOK_SECONDS,
    CertificateWatch,
    certificates_of,
)
from vagent.config.model import AgentConfig, ClientTls, MetadataProxyConfig
from vagent.observe.event import Event

NOW = datetime(2026, 11, 25, tzinfo=UTC)
DAY = 86400.0


def pem(folder: Path, *lifetimes: int) -> bytes:
    """A file with a CA of each lifetime in days."""
    made = [
        Authority(folder / str(n), f"ca-{days}", lifetime=timedelta(days=days))
        for n, days in enumerate(lifetimes)
    ]
    return b"".join(one.cert.read_bytes() for one in made)


class Rig:
    """A watch over the files of a folder, some days from now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.events: list[Event] = []
        self.cert, self.ca = folder / "cert", folder / "ca"
        self.watch = CertificateWatch(
            lambda: {"client-cert": [self.cert], "ca-cert": [self.ca]},
            emit=self.events.append,
            clock=self.clock,
            now=lambda: self.seconds,
        )
        self.started = datetime.now(UTC).timestamp()
        self.days = 0.0

    @property
    def seconds(self) -> float:
        return self.started + self.days * DAY

    def put(self, path: Path, lifetime: int) -> None:
        path.write_bytes(pem(self.folder / f"made-{path.name}-{lifetime}", lifetime))

    def look(self, days: float) -> list[str]:
        """What is told of after so many days, a minute passing."""
        self.days = days
        before = len(self.events)
        self.clock.advance(LOOK_SECONDS)
        return [event.label() or type(event).__name__ for event in self.events[before:]]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.put(made.cert, 60)
    made.put(made.ca, 365)
    made.watch.start()
    return made


def test_each_stage_is_told_once(rig: Rig) -> None:
    """However often the watch looks."""
    assert [] == rig.events
    told = [rig.look(day) for day in (1, 29, 31, 32, 52, 54, 59, 61, 62)]
    expected = [[], [], ["30-days"], [], [], ["7-days"], [], ["CertificateEnded"], []]
    assert expected == told
    assert isinstance(rig.events[-1], CertificateEnded)
    assert str(rig.cert) in rig.events[-1].text()
    assert "CN=ca-60" in rig.events[-1].text()


def test_what_is_late_already_is_told_at_the_start(tmp_path: Path) -> None:
    """One stage, the nearest."""
    rig = Rig(tmp_path)
    rig.put(rig.cert, 5)
    rig.put(rig.ca, 20)
    rig.watch.start()
    assert ["7-days", "30-days"] == [event.label() for event in rig.events]


def test_a_new_certificate_begins_anew(rig: Rig) -> None:
    """It is known within a minute; the same one, touched, is told no more."""
    assert ["30-days"] == rig.look(40)
    rig.cert.write_bytes(rig.cert.read_bytes())
    assert [] == rig.look(40)
    rig.put(rig.cert, 200)
    assert [] == rig.look(41)
    assert ["30-days"] == rig.look(180)


def test_end_and_snapshot_tell_the_same(rig: Rig) -> None:
    """For gauges and the page; the first end of a kind counts."""
    for kind, days in (("client-cert", 60), ("ca-cert", 365)):
        left = rig.watch.end(kind) - rig.started
        assert days == pytest.approx(left / DAY, abs=0.1)
    assert math.isnan(rig.watch.end("server-cert"))
    shown = {one.path: one for one in rig.watch.snapshot()}
    one = shown[rig.cert]
    assert one.ending is not None
    assert ("CN=ca-60", ("client-cert",)) == (one.ending.subject, one.kinds)
    end = rig.watch.end("client-cert")
    assert one.ending.until.timestamp() == end
    assert one.days_left == pytest.approx((end - rig.seconds) / DAY)
    rig.look(70)
    assert rig.watch.end("client-cert") == end
    shown = {one.path: one for one in rig.watch.snapshot()}
    left = (end - rig.seconds) / DAY
    assert left < -9
    assert shown[rig.cert].days_left == pytest.approx(left)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("x")])
def test_a_file_that_cannot_be_read_is_no_number(
    rig: Rig, spoil: Callable[[Path], object]
) -> None:
    """Nothing is told of it here: whoever uses it says so. It may come back."""
    spoil(rig.cert)
    assert [] == rig.look(1)
    assert math.isnan(rig.watch.end("client-cert"))
    shown = [one for one in rig.watch.snapshot() if one.path == rig.cert]
    assert not [one for one in shown if one.ending is not None]
    rig.put(rig.cert, 20)
    assert ["30-days"] == rig.look(2)


def test_one_file_of_two_kinds_is_told_once(tmp_path: Path) -> None:
    """The CA of both sides is often the same."""
    rig = Rig(tmp_path)
    rig.cert = rig.ca
    rig.put(rig.ca, 3)
    rig.watch.start()
    assert ["7-days"] == [event.label() for event in rig.events]
    assert rig.watch.end("client-cert") == rig.watch.end("ca-cert")


def test_stop_ends_it(rig: Rig) -> None:
    """No timer is left."""
    rig.watch.stop()
    assert [] == rig.clock.getDelayedCalls()


def test_all_certificates_of_a_configuration(tmp_path: Path) -> None:
    """Folders of endpoints included; without TLS there are none."""
    files = ClientTls(tmp_path / "c", tmp_path / "k", tmp_path / "a", tmp_path / "by")
    config = AgentConfig(metadata_proxy=MetadataProxyConfig(tls=files))
    assert {"client-cert": [tmp_path / "c"], "ca-cert": [tmp_path / "a"]} == (
        certificates_of(config)
    )
    (tmp_path / "by" / "10.0.0.5").mkdir(parents=True)
    own = tmp_path / "by" / "10.0.0.5" / "ca-cert.pem"
    assert [tmp_path / "a", own] == certificates_of(config)["ca-cert"]
    assert {} == certificates_of(AgentConfig())
