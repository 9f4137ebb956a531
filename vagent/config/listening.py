"""Checks where the agent listens: no two of its servers at one address and port, and
none where guests could reach it; and who may use the operator's APIs.

An address that guests are promised (169.254.169.254), or that stands for a guest, is
refused. Only a token can tell callers apart who come from other machines, so an API at
an address that is not loopback must want one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path

from vagent.config.files import read_bounded, reason
from vagent.config.findings import Findings, Place, shown
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.config.model import Access, AccessMode, Listen, OperatorApi, Secret
from vagent.config.section import Section, Value

MAX_TOKEN = 4_096
"""Bytes of a token."""
TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]{16,}=*")
"""What a token may look like: RFC 6750 §2.1, and long enough not to be guessed."""
ALLOWED = (
    "one line of 16 to 4096 letters, digits and -._~+/, "
    "as openssl rand -hex 32 prints it"
)
ANY = IPv4Address("0.0.0.0")  # noqa: S104 -- compared with, not bound


@dataclass(frozen=True, slots=True)
class Server:
    """One listening socket: the section that configures it, and its address
    and port.
    """

    section: Section
    name: str
    listen: Listen

    @property
    def is_sound(self) -> bool:
        """Whether neither its address nor its port was refused already."""
        return self.section.sound("address", "port")

    def meets(self, other: Server) -> bool:
        """Whether both cannot listen: they have the same port, and the same address or
        one of them has 0.0.0.0.
        """
        addresses = {self.listen.address, other.listen.address}
        same_port = self.listen.port == other.listen.port
        return same_port and (len(addresses) == 1 or ANY in addresses)


def read_listen(section: Section, default: Listen) -> Listen:
    """Address and port of one server."""
    return Listen(
        section.value("address", IPv4Address, default.address),
        section.value("port", int, default.port),
    )


def check_addresses(
    servers: list[Server], identities: IPv4Network, findings: Findings
) -> None:
    """Refuse addresses that nobody can listen on, and those that guests could reach."""
    for server in servers:
        address, place = server.listen.address, server.section.place_of("address")
        if not server.is_sound:
            continue
        if address.is_multicast or address.is_reserved:
            findings.refuse(place, f"got {address}; allowed: a unicast address")
        elif address == METADATA_ADDRESS or address in identities:
            findings.refuse(
                place,
                f"got {address}, which belongs to guests; allowed: an address of this "
                f"host outside {identities} and not {METADATA_ADDRESS}",
            )


def check_distinct(servers: list[Server], findings: Findings) -> None:
    """Refuse the later of two servers that would have the same address and port."""
    for first, second in combinations([each for each in servers if each.is_sound], 2):
        if first.meets(second):
            where = f"{second.listen.address}:{second.listen.port}"
            named = second if "port" in second.section.values else first
            findings.refuse(
                named.section.place_of("port"),
                f"<{second.name}> at {where} meets <{first.name}>; "
                "allowed: a port of its own",
            )


def token_in(content: bytes) -> bytes | None:
    """The token that a file holds, without the newline at its end; None if it is not
    one.
    """
    token = content.removesuffix(b"\n").removesuffix(b"\r")
    return token if len(token) <= MAX_TOKEN and TOKEN.fullmatch(token) else None


def read_api(section: Section, default: OperatorApi, findings: Findings) -> OperatorApi:
    """Address, port and access of one API."""
    listen = read_listen(section, default)
    access = _access(section.values.get("access"), default.access, findings)
    return OperatorApi(listen.address, listen.port, access)


def check_access(section: Section, api: OperatorApi, findings: Findings) -> None:
    """Refuse an API that other machines can reach without a token. Its address was
    checked before.
    """
    if api.access.mode is AccessMode.TOKEN or api.address.is_loopback:
        return
    is_refused = findings.has_refused(section.place_of("address").path)
    if is_refused or not section.sound("access"):
        return
    is_given = "access" in section.values
    name = section.place.path.rpartition("/")[2]
    findings.refuse(
        section.place_of("access" if is_given else "address"),
        f"got {api.access.mode.value}{'' if is_given else ' (the default)'} on "
        f"{api.address}, which is not loopback: other machines could use this API; "
        f'allowed: <access file="/etc/vagent/{name}.token">token</access>, with a '
        "secret in that file and mode 0600, or a loopback address",
    )


def _access(value: Value | None, default: Access, findings: Findings) -> Access:
    if value is None:
        return default
    mode = AccessMode(value.text)
    name = value.attributes.get("file", "").strip()
    place = value.place.child("@file")
    if mode is not AccessMode.TOKEN:
        if name:
            findings.warn(place, f"access is {mode.value}, so this file is not used")
        return Access(mode)
    if not name.startswith("/"):
        findings.refuse(
            place,
            f"got {shown(name)}; allowed: the absolute path of a file that holds the "
            f"token: {ALLOWED}",
        )
        return Access(mode)
    return Access(mode, _token(name, place, findings), Path(name))


def _token(name: str, place: Place, findings: Findings) -> Secret:
    """The token in a file that nobody else may read; no message repeats it."""
    nothing = Secret(b"")
    try:
        content = read_bounded(Path(name), MAX_TOKEN + len("\r\n"))
    except (OSError, ValueError) as error:
        findings.refuse(
            place,
            f"cannot read {shown(name)}: {reason(error)}; allowed: a file that holds "
            f"the token: {ALLOWED}",
        )
        return nothing
    if content.group_reads or content.others_read:
        findings.refuse(
            place,
            f"{shown(name)} has mode {content.mode:04o}, so others may read the token; "
            f"allowed: 0600 (chmod 0600 {name})",
        )
        return nothing
    token = token_in(content.data)
    if token is None:
        findings.refuse(
            place, f"{shown(name)} does not hold a token; allowed: {ALLOWED}"
        )
        return nothing
    return Secret(token)
