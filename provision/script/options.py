"""Reads and checks the command line of provision_linklocal.py.

All problems are reported together, as usage errors, before anything is sent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from provision.script.flags import (
    ADMIN_API,
    API_ADDRESS,
    API_PORT,
    OPERATIONS,
    ini_defaults,
    make_parser,
)
from provision.script.keystone import Credentials
from vagent.config.model import AgentConfig
from vagent.errors import WireError
from vagent.linklocal.codec import (
    MAX_FABRIC_ADDRESSES,
    MAX_NAME,
    parse_fabric_address,
    parse_port,
    parse_service_address,
    wire_entry,
)
from vagent.web.json_client import ApiAddress, SocketAddress
from vagent.web.unix_socket import CONFIG_API, found_at

AGENT_SOCKET = AgentConfig().runtime_directory / CONFIG_API
"""Where an agent listens whose agent.conf does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to do and where. `entry` is the JSON to send; for a deletion only its name
    counts. With `force` it is sent whatever becomes of the guests.
    """

    api: ApiAddress | SocketAddress
    basic_auth: bool
    credentials: Credentials
    delete: bool
    entry: dict[str, Any]
    token_file: str | None = None
    force: bool = False


def read_options(argv: Sequence[str]) -> Options:
    """The options. Exits with 2 (SystemExit, message on stderr) if they are wrong."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("-c", "--conf_file")
    conf_file = first.parse_known_args(argv)[0].conf_file
    parser = make_parser()
    if conf_file:
        parser.set_defaults(**ini_defaults(parser, conf_file))
    given = parser.parse_args(argv)
    if given.oper not in OPERATIONS:  # argparse does not check a default
        parser.error(f"--oper: {given.oper!r} is neither add nor delete")
    if not given.linklocal_service_name:
        parser.error("--linklocal_service_name is required")
    return _options(parser, given)


def _options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    delete = given.oper == "delete"
    texts = _addresses(given.ipfabric_service_ip)
    if not delete:
        problems = _problems(given, texts)
        if problems:
            parser.error("\n".join(problems))
    return Options(
        api=_api(given),
        basic_auth=given.use_admin_api,
        credentials=Credentials(
            given.admin_user, given.admin_password, given.admin_tenant_name
        ),
        delete=delete,
        entry=wire_entry(
            name=given.linklocal_service_name,
            address=given.linklocal_service_ip or "",
            port=given.linklocal_service_port or 0,
            fabric_addresses=texts,
            fabric_port=given.ipfabric_service_port or 0,
            fabric_dns_name=given.ipfabric_dns_service_name,
        ),
        token_file=given.api_token_file,
        force=given.force,
    )


def _api(given: argparse.Namespace) -> ApiAddress | SocketAddress:
    """The server that was named, or else the agent of this host: by its Unix socket if
    this user may, else over TCP.
    """
    if given.use_admin_api:
        return ADMIN_API
    host, port, tls = (
        given.api_server_ip,
        given.api_server_port,
        given.api_server_use_ssl,
    )
    if host is None and port is None and not tls and found_at(AGENT_SOCKET):
        return SocketAddress(AGENT_SOCKET)
    return ApiAddress(host or API_ADDRESS, port or API_PORT, tls=tls)


def _problems(given: argparse.Namespace, texts: list[str]) -> list[str]:
    """All problems of the values that were given."""
    problems: list[str] = []

    def check(flag: str, test: Callable[[], object]) -> None:
        try:
            test()
        except WireError as error:
            problems.append(f"--{flag}: {error}")

    name, dns_name = given.linklocal_service_name, given.ipfabric_dns_service_name
    check("linklocal_service_name", partial(_check_text, name))
    check("ipfabric_dns_service_name", partial(_check_text, dns_name, blanks=False))
    if given.linklocal_service_ip is not None:
        address = given.linklocal_service_ip
        check("linklocal_service_ip", partial(parse_service_address, address))
    for flag in ("linklocal_service_port", "ipfabric_service_port"):
        port = getattr(given, flag)
        if port is not None:
            check(flag, partial(parse_port, "port", port))
    for text in texts:
        check("ipfabric_service_ip", partial(parse_fabric_address, text))
    if len(texts) > MAX_FABRIC_ADDRESSES:
        problems.append(
            f"--ipfabric_service_ip: {len(texts)} (at most {MAX_FABRIC_ADDRESSES})"
        )
    return problems


def _check_text(text: str, *, blanks: bool = True) -> None:
    if len(text) > MAX_NAME:
        raise WireError(f"{len(text)} characters (at most {MAX_NAME})")
    if not text.isprintable() or (not blanks and " " in text):
        raise WireError(f"{text!a} has characters that are not allowed")


def _addresses(given: Sequence[str | Sequence[str]] | str | None) -> list[str]:
    """The addresses given: one or many, repeated or separated; from the ini file a
    plain text.
    """
    parts = [given] if isinstance(given, str) else list(given or ())
    flat = [part if isinstance(part, str) else " ".join(part) for part in parts]
    return " ".join(flat).replace(",", " ").split()
