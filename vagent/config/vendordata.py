"""`<vendordata>`: what the embedded metadata server adds to guests' metadata.

Targets are written as in nova.conf (`vendordata_dynamic_targets`): `name@url`, several
with commas or blanks between them. What Nova skips with a warning (no name, a name
again, `static`) is refused here.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from vagent.config.findings import Findings, Place, shown
from vagent.config.model import FailureMode, VendorDataConfig, VendorDataTarget
from vagent.config.pem_files import read_ca, read_own_files, read_pem_files
from vagent.config.section import Section

DEFAULTS = VendorDataConfig()
MAX_TARGETS = 32
"""Each guest's answers of all targets are one value of the store."""
MAX_STATIC = 262_144
"""Bytes of the static JSON file."""
STATIC_NAME = "static"
"""What the static data are called in vendor_data2.json."""

_NAME = re.compile(r"[!-~]{1,64}")


def read_vendordata(
    section: Section, findings: Findings, *, is_used: bool
) -> VendorDataConfig:
    """The settings in the section; the defaults where no metadata server runs."""
    if not is_used:
        matters = ("static-file", "dynamic-targets")
        given = [name for name in matters if section.value(name, str, "")]
        if given:
            findings.warn(
                section.place_of(given[0]),
                "metadata-server is not enabled, so this is not used",
            )
        return DEFAULTS
    value, default = section.value, DEFAULTS
    certificate, key = read_own_files(section, findings)
    timeout = value("timeout", float, default.timeout)
    return VendorDataConfig(
        static_file=_static_file(section, findings),
        targets=_targets(section, findings),
        failure_mode=value("failure-mode", FailureMode, default.failure_mode),
        connect_timeout=_within(section, findings, "connect-timeout", timeout),
        read_timeout=_within(section, findings, "read-timeout", timeout),
        timeout=timeout,
        cache_time=value("cache-time", int, default.cache_time),
        failure_cache_time=value(
            "failure-cache-time", float, default.failure_cache_time
        ),
        ca_cert=read_ca(section, findings),
        client_cert=certificate,
        client_key=key,
        target_tls=_path(section, "target-tls"),
    )


def _within(section: Section, findings: Findings, name: str, timeout: float) -> float:
    """A part of the time that a target has; left out, it is lowered to the whole."""
    default: float = getattr(DEFAULTS, name.replace("-", "_"))
    seconds = section.value(name, float, min(default, timeout))
    if seconds > timeout and section.sound("timeout"):
        findings.refuse(
            section.place_of(name),
            f"got {seconds:g}; allowed: at most timeout, which is {timeout:g}",
        )
    return seconds


def _targets(section: Section, findings: Findings) -> tuple[VendorDataTarget, ...]:
    texts = section.value("dynamic-targets", str, "").replace(",", " ").split()
    place = section.place_of("dynamic-targets")
    if len(texts) > MAX_TARGETS:
        findings.refuse(place, f"got {len(texts)} targets; allowed: {MAX_TARGETS}")
        return ()
    found: dict[str, VendorDataTarget] = {}
    for text in texts:
        target = _target(text, place, findings)
        if target is None:
            continue
        if target.name in found:
            findings.refuse(place, f"the name {shown(target.name)} is given twice")
        found[target.name] = target
    return tuple(found.values())


def _target(text: str, place: Place, findings: Findings) -> VendorDataTarget | None:
    name, at, url = text.partition("@")
    if not at or not _NAME.fullmatch(name):
        findings.refuse(
            place,
            f"got {shown(text)}; allowed: name@url, the name of 1 to 64 printable"
            " ASCII characters",
        )
        return None
    if name == STATIC_NAME:
        findings.refuse(
            place, f"got the name {STATIC_NAME}, which is that of the static data"
        )
        return None
    problem = _url_problem(url)
    if problem:
        findings.refuse(place, f"{name}: got {shown(url)}; {problem}")
        return None
    return VendorDataTarget(name, url)


def _url_problem(url: str) -> str:
    """What is wrong with it; "" for nothing."""
    allowed = "allowed: http://host[:port]/path or https://host[:port]/path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return allowed
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return allowed
    if not (url.isascii() and url.isprintable()):
        return "allowed: printable ASCII, anything else escaped"
    if parts.username is not None or parts.password is not None:
        return "a user or password in a URL is not used; allowed: a URL without"
    if parts.fragment:
        return "a fragment is never sent; allowed: a URL without"
    return ""


def warn_of_exposed_tokens(
    section: Section, config: VendorDataConfig, findings: Findings
) -> None:
    """Tell of targets that get Keystone tokens over a network in the clear."""
    names = [one.name for one in config.targets if is_exposed(one.url)]
    if names:
        findings.warn(
            section.place_of("dynamic-targets"),
            f"tokens of service-credentials go to {', '.join(names)} over plain HTTP",
        )


def is_exposed(url: str) -> bool:
    """Would what is sent there cross a network in the clear?"""
    parts: SplitResult = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def _static_file(section: Section, findings: Findings) -> Path | None:
    """Only whether it is there; what is in it is judged where it is used, because it
    may change while the agent runs.
    """
    if not _path(section, "static-file"):
        return None
    why = "it is named"
    found = read_pem_files(section, ("static-file",), findings, why=why)
    return found[0] if found else None


def _path(section: Section, name: str) -> Path | None:
    text = section.value(name, str, "")
    return Path(text) if text else None
