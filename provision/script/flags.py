"""The flags of provision_linklocal.py, its help and its ini file."""

from __future__ import annotations

import argparse
from configparser import (
    ConfigParser,
    InterpolationError,
    MissingSectionHeaderError,
    ParsingError,
)
from configparser import Error as IniError
from pathlib import Path
from typing import Any

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.errors import WireError
from vagent.linklocal.codec import parse_port
from vagent.web.json_client import ApiAddress
from vagent.web.token import VARIABLE

API_ADDRESS, API_PORT = "127.0.0.1", 8082
ADMIN_API = ApiAddress("127.0.0.1", 8095)
"""Contrail's admin port: basic authentication, this host only, never TLS."""

OPERATIONS = ("add", "delete")
"""Values of --oper. In Contrail every word but `add` means delete."""
_ABOUT = """\
Adds, changes or deletes a link-local service: an address and port that every guest may
call, and where the service really is. The agents pick the change up at once.
"""
_EXAMPLES = f"""\
examples:
  Offer the metadata service, answered by nova on two controllers:
    provision_linklocal.py --linklocal_service_name metadata \\
        --linklocal_service_ip {METADATA_ADDRESS} --linklocal_service_port 80 \\
        --ipfabric_service_ip 10.0.0.5,10.0.0.6 --ipfabric_service_port 8775
  Offer this host's NTP server:
    provision_linklocal.py --linklocal_service_name ntp \\
        --linklocal_service_ip {METADATA_ADDRESS} --linklocal_service_port 123 \\
        --ipfabric_service_ip 127.0.0.1 --ipfabric_service_port 123
  Take it back:
    provision_linklocal.py --linklocal_service_name ntp --oper delete

ini file for --conf_file (the command line wins):
    [DEFAULTS]
    api_server_ip = 10.0.0.5
    [KEYSTONE]
    admin_user = admin
    admin_password = ...
    admin_tenant_name = admin

exit codes: 0 done, 1 failed, 2 usage, 69 API server unreachable, 77 not authorised
"""


def make_parser() -> argparse.ArgumentParser:
    """A parser for Contrail's flags with Contrail's defaults; None where a missing
    value matters.
    """
    parser = argparse.ArgumentParser(
        prog="provision_linklocal.py",
        description=_ABOUT,
        epilog=_EXAMPLES,
        usage="provision_linklocal.py --linklocal_service_name NAME [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_api_options(parser)
    _add_service_options(parser)
    return parser


def _add_api_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-c", "--conf_file", metavar="FILE", help="ini file with defaults, see below")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--api_server_ip",
        metavar="HOST",
        help="config API server (vagent's on this host, else 127.0.0.1)",
    )
    where.add_argument(
        "--use_admin_api",
        action="store_true",
        help=f"Contrail's admin API, {ADMIN_API}, with basic authentication",
    )
    add("--api_server_port", metavar="PORT", type=_port, help=f"({API_PORT})")
    add("--api_server_use_ssl", metavar="BOOL", type=_flag, default=False, help="https")
    add(
        "--api_token_file",
        metavar="FILE",
        help=f"holds the token, if vagent's API wants one (${VARIABLE})",
    )
    add("--admin_user", metavar="USER", default="user1", help="if the API asks")
    add("--admin_password", metavar="TEXT", default="password1", help="or in FILE")
    add("--admin_tenant_name", metavar="NAME", default="admin", help="its project")


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--linklocal_service_name", metavar="NAME", default="", help="required")
    add("--linklocal_service_ip", metavar="IP", help="address that guests call")
    add("--linklocal_service_port", metavar="PORT", type=int, help="and its port")
    add(
        "--ipfabric_dns_service_name",
        metavar="HOST",
        default="",
        help="name of the real server",
    )
    add(
        "--ipfabric_service_ip",
        metavar="IP",
        action="append",
        nargs="+",
        help="address of the real server; for several repeat it, or separate them by "
        "comma or blank; 127.0.0.1 is the host of each agent",
    )
    add("--ipfabric_service_port", metavar="PORT", type=int, help="port of the server")
    add(
        "--oper",
        choices=OPERATIONS,
        default="add",
        help="add (which also changes; default) or delete, by name",
    )
    add(
        "--force",
        action="store_true",
        help="even if guests are cut off or the name looks mistyped",
    )


def ini_defaults(parser: argparse.ArgumentParser, path: str) -> dict[str, Any]:
    """Defaults from the sections [DEFAULTS] and [KEYSTONE]; keys for other scripts are
    ignored.
    """
    ini = ConfigParser()
    try:
        with Path(path).open(encoding="utf-8") as file:
            ini.read_file(file)
        found: dict[str, Any] = dict(ini.items("DEFAULTS"))
        if ini.has_section("KEYSTONE"):
            found.update(ini.items("KEYSTONE"))
        found.pop("force", None)  # on the command line alone
        if "use_admin_api" in found:
            found["use_admin_api"] = _flag(found["use_admin_api"])
    except (OSError, UnicodeDecodeError, argparse.ArgumentTypeError) as error:
        parser.error(f"--conf_file {path}: {error}")
    except IniError as error:
        parser.error(f"--conf_file {path}: {ini_problem(error)}")
    return found


def ini_problem(error: IniError) -> str:
    """What is wrong with the ini file. configparser's own text would repeat
    passwords.
    """
    match error:
        case InterpolationError():
            return f"[{error.section}] {error.option}: write a % as %%"
        case MissingSectionHeaderError():
            return f"line {error.lineno}: no [section] before it"
        case ParsingError():
            return f"line {error.errors[0][0]} is neither [section] nor name = value"
    return str(error)


def _flag(text: str) -> bool:
    known = {
        "true": True,
        "yes": True,
        "1": True,
        "false": False,
        "no": False,
        "0": False,
    }
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return known[text.lower()]


def _port(text: str) -> int:
    try:
        return parse_port("port", int(text))
    except (ValueError, WireError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1–65535)") from None
