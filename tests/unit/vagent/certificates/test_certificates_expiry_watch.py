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
from vagent.certificates.expiry import Ending, ExpiryStage, ending_of, stage_of
from vagent.certificates.expiry_watch import (
    LOOK_SECONDS,
    CertificateWatch,
    certificates_of,
)
from vagent.config.model import AgentConfig, ClientTls, MetadataProxyConfig
from vagent.observe.event import Event

NOW = datetime(2026, 11, 25, tzinfo=UTC)
DAY = 86400.0


@pytest.mark.parametrize(
    ("days", "stage"),
    [
        (31, ExpiryStage.FAR),
        (30.01, ExpiryStage.FAR),
        (30, ExpiryStage.MONTH),
        (7.01, ExpiryStage.MONTH),
        (7, ExpiryStage.WEEK),
        (0.01, ExpiryStage.WEEK),
        (0, ExpiryStage.ENDED),
        (-1, ExpiryStage.ENDED),
    ],
)
def test_stages(days: float, stage: ExpiryStage) -> None:
    """30 days, 7 days, the end."""
    ending = Ending("CN=a", NOW + timedelta(days=days))
    assert stage is stage_of(ending, NOW)
    assert days == pytest.approx(ending.days(NOW))


def pem(folder: Path, *lifetimes: int) -> bytes:
    """A file with a CA of each lifetime in days."""
    made = [
        Authority(folder / str(n), f"ca-{days}", lifetime=timedelta(days=days))
        for n, days in enumerate(lifetimes)
    ]
    return b"".join(one.cert.read_bytes() for one in made)


@pytest.mark.parametrize(
    ("lifetimes", "decides"),
    [((9,), 9), ((9, 5, 20), 5), ((9, 5, 20, 30), 5), ((9, 5, 20, 30, 8), 30)],
)
def test_which_certificate_of_a_file_decides(
    tmp_path: Path, lifetimes: tuple[int, ...], decides: int
) -> None:
    """The first to end; of a large bundle the last."""
    assert f"CN=ca-{decides}" == ending_of(pem(tmp_path, *lifetimes)).subject


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_no_certificate_is_an_error(content: bytes) -> None:
    """ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"."):
        ending_of(content)


class Bench:
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
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.put(made.cert, 60)
    made.put(made.ca, 365)
    made.watch.start()
    return made


def test_each_stage_is_told_once(bench: Bench) -> None:
    """However often the watch looks."""
    assert [] == bench.events
    told = [bench.look(day) for day in (1, 29, 31, 32, 52, 54, 59, 61, 62)]
    expected = [[], [], ["30-days"], [], [], ["7-days"], [], ["CertificateEnded"], []]
    assert expected == told
    assert isinstance(bench.events[-1], CertificateEnded)
    assert str(bench.cert) in bench.events[-1].text()
    assert "CN=ca-60" in bench.events[-1].text()


def test_what_is_late_already_is_told_at_the_start(tmp_path: Path) -> None:
    """One stage, the nearest."""
    bench = Bench(tmp_path)
    bench.put(bench.cert, 5)
    bench.put(bench.ca, 20)
    bench.watch.start()
    assert ["7-days", "30-days"] == [event.label() for event in bench.events]


def test_a_new_certificate_begins_anew(bench: Bench) -> None:
    """It is known within a minute; the same one, touched, is told no more."""
    assert ["30-days"] == bench.look(40)
    bench.cert.write_bytes(bench.cert.read_bytes())
    assert [] == bench.look(40)
    bench.put(bench.cert, 200)
    assert [] == bench.look(41)
    assert ["30-days"] == bench.look(180)


def test_days_and_rows_tell_the_same(bench: Bench) -> None:
    """For gauges and the page; the first end of a kind counts."""
    assert 60 == pytest.approx(bench.watch.days("client-cert"), abs=0.1)
    assert 365 == pytest.approx(bench.watch.days("ca-cert"), abs=0.1)
    assert math.isnan(bench.watch.days("server-cert"))
    rows = dict(bench.watch.rows())
    assert rows[f"certificate {bench.cert}"].startswith("CN=ca-60, ")
    assert rows[f"certificate {bench.cert}"].endswith(" UTC: 59 days left")
    bench.look(70)
    assert bench.watch.days("client-cert") < -9
    assert dict(bench.watch.rows())[f"certificate {bench.cert}"].endswith("expired")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("x")])
def test_a_file_that_cannot_be_read_is_no_number(
    bench: Bench, spoil: Callable[[Path], object]
) -> None:
    """Nothing is told of it here: whoever uses it says so. It may come back."""
    spoil(bench.cert)
    assert [] == bench.look(1)
    assert math.isnan(bench.watch.days("client-cert"))
    assert not any("days" in text for n, text in bench.watch.rows() if "/cert" in n)
    bench.put(bench.cert, 20)
    assert ["30-days"] == bench.look(2)


def test_one_file_of_two_kinds_is_told_once(tmp_path: Path) -> None:
    """The CA of both sides is often the same."""
    bench = Bench(tmp_path)
    bench.cert = bench.ca
    bench.put(bench.ca, 3)
    bench.watch.start()
    assert ["7-days"] == [event.label() for event in bench.events]
    assert bench.watch.days("client-cert") == bench.watch.days("ca-cert")


def test_stop_ends_it(bench: Bench) -> None:
    """No timer is left."""
    bench.watch.stop()
    assert [] == bench.clock.getDelayedCalls()


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
