"""Checks that the PEM files for TLS are named, exist and can be read.

Their content is checked where they are used, because certificates change while the
agent runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vagent.config.files import Content, read_bounded, reason
from vagent.config.findings import Findings, Place, shown
from vagent.config.section import Section

CLIENT_FILES = ("client-cert", "client-key", "ca-cert")
SERVER_FILES = ("server-cert", "server-key", "client-ca")
KEYS = frozenset({"client-key", "server-key"})
MAX_PEM = 1 << 20  # bytes; a bundle of all public CAs is about 220 KiB


def named(section: Section, names: Sequence[str]) -> list[str]:
    """Those of `names` for which the section has a path, or one that was refused."""
    return [name for name in names if _path(section, name) or not section.sound(name)]


def read_pem_files(
    section: Section, names: Sequence[str], findings: Findings, *, why: str
) -> list[Path] | None:
    """The paths of all `names`, in order, or None if one is missing or unreadable.

    `why` completes "needed because …" in the message.
    """
    tried = [_usable(section, name, findings, why) for name in names]
    usable = [path for path in tried if path]
    return usable if len(usable) == len(names) else None


def read_ca(section: Section, findings: Findings) -> Path | None:
    """The authorities of `ca-cert`, which may be left out."""
    if _path(section, "ca-cert") is None:
        return None
    found = read_pem_files(section, ("ca-cert",), findings, why="it is named")
    return found[0] if found else None


def read_own_files(
    section: Section, findings: Findings
) -> tuple[Path, Path] | tuple[None, None]:
    """`client-cert` and `client-key`, which may be left out together."""
    names = ("client-cert", "client-key")
    given = named(section, names)
    if not given:
        return None, None
    why = f"{given[0]} is given, and a certificate needs its key"
    found = read_pem_files(section, names, findings, why=why)
    return (found[0], found[1]) if found else (None, None)


def _usable(section: Section, name: str, findings: Findings, why: str) -> Path | None:
    path, place = _path(section, name), section.place_of(name)
    if not section.sound(name):
        return None
    if path is None:
        findings.refuse(place, f"no file is named; needed because {why}")
        return None
    content = _try(path, place, findings)
    if content is None:
        return None
    if name in KEYS and content.others_read:
        findings.warn(
            place,
            f"{shown(str(path))} is world-readable (mode {content.mode:04o}); "
            "make it 0600",
        )
    return path


def _try(path: Path, place: Place, findings: Findings) -> Content | None:
    try:
        content = read_bounded(path, MAX_PEM)
    except (OSError, ValueError) as error:
        findings.refuse(place, f"cannot read {shown(str(path))}: {reason(error)}")
        return None
    if len(content.data) > MAX_PEM:
        what = f"{shown(str(path))} is too large; allowed: {MAX_PEM} bytes"
        findings.refuse(place, what)
        return None
    return content


def _path(section: Section, name: str) -> Path | None:
    text = section.value(name, str, "")
    return Path(text) if text else None
