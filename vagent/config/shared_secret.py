"""Reads `<shared-secret>` and other secrets, inline or from a file of their own. No
message repeats a secret or its length.
"""

from __future__ import annotations

from pathlib import Path

from vagent.config.files import Content, read_bounded, reason
from vagent.config.findings import Findings, Place, shown
from vagent.config.model import Secret
from vagent.config.section import Section, Value

MAX_SECRET = 4_096  # bytes; HMAC-SHA256 hashes any key above 64 bytes down to 32 anyway
MASK = "***"  # what --dump-config writes for a secret that is set
NO_SECRET = Secret(b"")


def read_secret(section: Section, findings: Findings, conf: Content) -> Secret:
    """The secret in `section`; the empty one if absent, empty or refused.

    Blanks around an inline secret are not part of it (as in Contrail); of a file only
    one newline at the end is taken away.
    """
    value = section.values.get("shared-secret")
    return NO_SECRET if value is None else secret_of(value, findings, conf)


def secret_of(value: Value, findings: Findings, conf: Content) -> Secret:
    """As `read_secret`, of any element that may hold a secret."""
    if "file" not in value.attributes:
        return _inline(value, findings, conf)
    place = value.place.child("@file")
    if value.text:
        findings.refuse(place, "both a file and a text are given; allowed: one of them")
        return NO_SECRET
    return _from_file(value.attributes["file"].strip(), place, findings)


def _inline(value: Value, findings: Findings, conf: Content) -> Secret:
    secret = value.text.encode()
    if len(secret) > MAX_SECRET:
        findings.refuse(value.place, f"too long; allowed: {MAX_SECRET} bytes")
        return NO_SECRET
    if value.text == MASK:
        findings.warn(
            value.place,
            f"{MASK} is what --dump-config prints in place of a secret; "
            "it is used as the secret here",
        )
    if secret and (conf.group_reads or conf.others_read):
        findings.warn(
            value.place,
            f"the file holds a secret and has mode {conf.mode:04o}; "
            'make it 0600, or keep the secret in a file (file="…")',
        )
    return Secret(secret)


def _from_file(name: str, place: Place, findings: Findings) -> Secret:
    if not name.startswith("/"):
        findings.refuse(place, f"got {shown(name)}; allowed: an absolute path")
        return NO_SECRET
    try:
        content = read_bounded(Path(name), MAX_SECRET + len("\r\n"))
    except (OSError, ValueError) as error:
        findings.refuse(place, f"cannot read {shown(name)}: {reason(error)}")
        return NO_SECRET
    newline = b"\r\n" if content.data.endswith(b"\r\n") else b"\n"
    secret = content.data.removesuffix(newline)
    if len(secret) > MAX_SECRET:
        findings.refuse(
            place, f"{shown(name)} is too large; allowed: {MAX_SECRET} bytes"
        )
        return NO_SECRET
    if content.others_read:
        findings.warn(
            place,
            f"{shown(name)} is world-readable (mode {content.mode:04o}); make it 0600",
        )
    return Secret(secret)
