"""`vagentctl guest list` and `vagentctl libvirt`: what libvirt's domains get, and what
their definitions need for cloud-init to ask.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vagent.config.model import NovaDomains
from vagent.ctl.failure import UNAVAILABLE, USAGE, CommandError
from vagent.ctl.parser import Group
from vagent.ctl.session import Session
from vagent.errors import WireError

if TYPE_CHECKING:
    from vagent.guests.definitions import Definitions, KnownDomain

COLUMNS = {
    "name": "name",
    "uuid": "uuid",
    "tap": "tap",
    "mac": "mac",
    "address": "address",
    "owner": "owner",
    "state": "state",
    "asks": "asks",
    "wrong": "wrong",
}
CONNECT_HELP = "libvirt's connection URI (default: libvirt/uri of agent.conf)"


def register(groups: Any) -> None:
    """Add both groups to the parser."""
    guest = Group(groups, "guest", "the guests that libvirt runs on this host")
    about = "each guest, its port, whether its cloud-init will ask, and what is wrong"
    guest.command("list", list_guests, about).add_argument(
        "--connect", metavar="URI", help=CONNECT_HELP
    )
    libvirt = Group(groups, "libvirt", "what a domain needs for cloud-init to ask")
    about = "print the lines that a domain's XML needs"
    libvirt.command("snippet", show_snippet, about)
    about = "write these lines into definitions of domains"
    prepare = libvirt.command("prepare", prepare_domains, about)
    prepare.add_argument("domains", nargs="*", metavar="DOMAIN", help="their names")
    prepare.add_argument("--all", action="store_true",
                         help="all that Nova did not make and whose cloud-init would"
                         " not ask")  # fmt: skip
    prepare.add_argument("--yes", action="store_true", help="do not ask for each")
    prepare.add_argument("--connect", metavar="URI", help=CONNECT_HELP)


def list_guests(session: Session, args: Namespace) -> None:
    """Show all domains with their ports."""
    # Imported late, as everywhere here: lxml is slow to load.
    from vagent.guests.domain_xml import read_domain
    from vagent.guests.listing import guest_rows

    config = session.agent_config.libvirt
    with _definitions(session, args) as definitions:
        known = definitions.domains()
    ports = session.port_api.json("GET", "/ports")
    rows: list[dict[str, Any]] = []
    for each in known:
        try:
            domain = read_domain(each.xml)
        except WireError as error:
            rows.append({"name": each.name, "wrong": [str(error)]})
            continue
        serve = config.nova_domains is NovaDomains.SERVE
        rows += guest_rows(domain, ports, is_running=each.is_running, serve_nova=serve)
    session.show_table(rows, COLUMNS)


def show_snippet(session: Session, _args: Namespace) -> None:
    """Print it."""
    from vagent.guests.smbios import SNIPPET

    session.show_lines(SNIPPET.splitlines())


def prepare_domains(session: Session, args: Namespace) -> None:
    """Change definitions, asking for each."""
    if bool(args.domains) == args.all:
        raise CommandError("name the domains, or give --all", code=USAGE)
    with _definitions(session, args, may_write=True) as definitions:
        names = args.domains
        if args.all:
            names = [each.name for each in definitions.domains() if _needs_it(each)]
            if not names:
                session.say("there is no domain that needs it")
        for name in names:
            _prepare(session, definitions, name, is_agreed=args.yes)


def _prepare(
    session: Session, definitions: Definitions, name: str, *, is_agreed: bool
) -> None:
    from vagent.guests.smbios import prepared

    before = definitions.definition(name)
    try:
        after = prepared(before)
    except WireError as error:
        raise CommandError(f"{name}: {error}") from error
    if after == before:
        session.say(f"{name}: nothing to do, its cloud-init asks")
        return
    if not (is_agreed or _agrees(session, name)):
        session.say(f"{name}: left as it is")
        return
    definitions.define(after)
    session.say(
        f"{name}: done; it counts when the domain is shut down and started again "
        "(a reboot inside of it is not enough)"
    )


def _agrees(session: Session, name: str) -> bool:
    session.stderr.write(
        f"Change the definition of {name!r}, so that its firmware says that it is an"
        " OpenStack instance? [y/N] "
    )
    session.stderr.flush()
    return session.stdin.readline().strip().lower() in ("y", "yes")


def _needs_it(known: KnownDomain) -> bool:
    from vagent.guests.domain_xml import read_domain
    from vagent.guests.smbios import Asks, asks

    try:
        domain = read_domain(known.xml)
    except WireError:
        return False
    return domain.nova is None and asks(domain) is Asks.NO


@contextmanager
def _definitions(
    session: Session, args: Namespace, *, may_write: bool = False
) -> Iterator[Definitions]:
    """Raises CommandError where libvirt does not answer or refuses."""
    from vagent.guests.definitions import Definitions
    from vagent.guests.hypervisor import HypervisorError

    uri = args.connect or session.agent_config.libvirt.uri
    try:
        definitions = Definitions(uri, may_write=may_write)
    except HypervisorError as error:
        raise CommandError(f"libvirt: {error}", code=UNAVAILABLE) from error
    try:
        yield definitions
    except HypervisorError as error:
        raise CommandError(f"libvirt: {error}") from error
    finally:
        definitions.close()
