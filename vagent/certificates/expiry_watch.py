"""Watches the certificates in use, and warns before they expire.

The files are checked when the agent starts and every minute, and read when they have
changed, so warnings are about the files that new connections use. Each stage is
reported once for each certificate, however many connections there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.certificates.events import CertificateEnded, CertificateEnds
from vagent.certificates.expiry import Ending, ExpiryStage, ending_of, stage_of
from vagent.certificates.per_endpoint import all_files
from vagent.config.model import AgentConfig
from vagent.observe.event import Emit

LOOK_SECONDS = 60.0
"""A changed file is noticed within a minute; a check is one `stat` for each file."""
MAX_PEM = 1 << 20
"""Bytes; a bundle of all public CAs is about 220 KiB."""

Files = Callable[[], Mapping[str, Iterable[Path]]]
"""Gives the files to watch now, by their element in agent.conf."""


def certificates_of(config: AgentConfig) -> dict[str, list[Path]]:
    """All certificate files of this configuration, by element of agent.conf."""
    found: dict[str, list[Path]] = {}
    tls, server = config.metadata_proxy.tls, config.metadata_server
    for _, files in all_files(tls) if tls else ():
        found.setdefault("client-cert", []).append(files.client_cert)
        found.setdefault("ca-cert", []).append(files.ca_cert)
    if server and server.server_cert and server.client_ca:
        found["server-cert"] = [server.server_cert]
        found["client-ca"] = [server.client_ca]
    return found


@dataclass(slots=True)
class _Known:
    """What was found in a file, the stage reported last, and the elements that name it.

    `state` shows whether the file is still the same.
    """

    state: tuple[int, int, int]
    ending: Ending | None
    reported: ExpiryStage = ExpiryStage.FAR
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CertificateSnapshot:
    """A file in use: `kinds` are the elements of agent.conf that name it.

    `ending` is None, and `days_left` NaN, where no certificate can be read from it.
    """

    path: Path
    kinds: tuple[str, ...]
    ending: Ending | None
    days_left: float


class CertificateWatch:
    """Checks `files`. `now` gives seconds since the epoch (certificates have dates)."""

    def __init__(
        self, files: Files, *, emit: Emit, clock: IReactorTime, now: Callable[[], float]
    ) -> None:
        self._files = files
        self._emit = emit
        self._clock = clock
        self._now = now
        self._known: dict[Path, _Known] = {}
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Check now, and every LOOK_SECONDS until `stop`."""
        self._timer = self._clock.callLater(LOOK_SECONDS, self.start)
        self.look()

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def look(self) -> None:
        """Read all files again, and report each certificate that has come nearer to its
        expiry by a stage (30 days, 7 days, expired).
        """
        kinds: dict[Path, set[str]] = {}
        for kind, paths in self._files().items():
            for path in paths:
                kinds.setdefault(path, set()).add(kind)
        now, before = self._time(), self._known
        self._known = {}
        for path, its_kinds in kinds.items():
            known = _look_at(path, before.get(path))
            if known is not None:
                known.kinds = frozenset(its_kinds)
                self._known[path] = known
                self._report(path, known, now)

    def end(self, kind: str) -> float:
        """When the first certificate of this element expires, in seconds since the
        epoch; NaN without one.
        """
        ends = [k.ending for k in self._known.values() if kind in k.kinds]
        return min((one.until.timestamp() for one in ends if one), default=math.nan)

    def snapshot(self) -> tuple[CertificateSnapshot, ...]:
        """The files in use and when they expire, as far as is known now."""
        now = self._time()
        return tuple(
            CertificateSnapshot(
                path=path,
                kinds=tuple(sorted(known.kinds)),
                ending=known.ending,
                days_left=known.ending.days(now) if known.ending else math.nan,
            )
            for path, known in self._known.items()
        )

    def _report(self, path: Path, known: _Known, now: datetime) -> None:
        if known.ending is None:
            return
        stage = stage_of(known.ending, now)
        if stage is known.reported:
            return
        known.reported = stage
        subject, until = known.ending.subject, known.ending.until
        if stage is ExpiryStage.ENDED:
            self._emit(CertificateEnded(str(path), subject, until))
        elif stage is not ExpiryStage.FAR:
            self._emit(CertificateEnds(str(path), subject, until, stage.value))

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _look_at(path: Path, known: _Known | None) -> _Known | None:
    """The subject and expiry of the certificate in the file, as `_Known`; None if the
    file cannot be read.
    """
    try:
        found = path.stat()
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if known is not None and known.state == state:
            return known
        with path.open("rb") as file:
            content = file.read(MAX_PEM)
    except OSError:
        return None  # `TlsFiles` reports it when a connection needs the file
    try:
        ending = ending_of(content)
    except ValueError:
        return _Known(state, None)
    if known is not None and known.ending == ending:
        return _Known(state, ending, known.reported)
    return _Known(state, ending)
