"""What the doctor wants to know of libvirt's domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vagent.config.model import LibvirtConfig, LibvirtMode, NovaDomains
from vagent.doctor.facts import DomainFact, DomainFacts
from vagent.errors import WireError
from vagent.guests.definitions import Definitions, KnownDomain
from vagent.guests.domain_xml import read_domain
from vagent.guests.hypervisor import HypervisorError
from vagent.guests.process import look_elsewhere
from vagent.guests.smbios import Asks, asks


def look_at_domains(
    config: LibvirtConfig,
    *,
    connect: Callable[[str], Definitions] = Definitions,
    elsewhere: Callable[[], str] = look_elsewhere,
) -> DomainFacts | None:
    """The domains that run; None where there is no libvirt, or it is not watched."""
    if config.enabled is LibvirtMode.OFF:
        return None
    try:
        definitions = connect(config.uri)
        known = definitions.domains()
        definitions.close()
    except HypervisorError:
        return None
    return DomainFacts(
        tuple(_running(known)),
        serves_nova=config.nova_domains is NovaDomains.SERVE,
        elsewhere=elsewhere() if config.enabled is LibvirtMode.AUTO else "",
    )


def _running(known: Iterable[KnownDomain]) -> Iterator[DomainFact]:
    for each in known:
        if not each.is_running:
            continue
        try:
            domain = read_domain(each.xml)
        except WireError:
            continue  # `vagentctl guest list` tells of it
        yield DomainFact(
            each.name,
            tuple(interface.tap for interface in domain.interfaces),
            is_novas=domain.nova is not None,
            asks=asks(domain) is not Asks.NO,
        )
