"""Promises of vagent.ctl.guests.look: the doctor learns of the domains that run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.vagent.guests import nova_domains as made
from vagent.config.model import LibvirtConfig, LibvirtMode, NovaDomains
from vagent.ctl.guests.look import look_at_domains
from vagent.doctor.facts import DomainFact, DomainFacts
from vagent.guests.definitions import KnownDomain
from vagent.guests.hypervisor import HypervisorError

CONFIG = LibvirtConfig()


class Known:
    """Definitions in memory; raises if told to."""

    def __init__(self, *domains: KnownDomain, is_away: bool = False) -> None:
        self._domains = list(domains)
        self._is_away = is_away

    def __call__(self, uri: str) -> Any:
        assert "qemu:///system" == uri
        return self

    def domains(self) -> list[KnownDomain]:
        if self._is_away:
            raise HypervisorError("gone")
        return self._domains

    def close(self) -> None:
        pass


def look(known: Known, config: LibvirtConfig = CONFIG) -> DomainFacts | None:
    """With somebody else who serves guests."""
    return look_at_domains(config, connect=known, elsewhere=lambda: "Neutron")


def test_domains_that_run() -> None:
    """Not those that do not, nor what cannot be read."""
    found = look(
        Known(
            KnownDomain("web", True, made.PLAIN),
            KnownDomain("off", False, made.PLAIN),
            KnownDomain("broken", True, "<x"),
            KnownDomain("nova", True, made.OVN),
        )
    )
    assert found == DomainFacts(
        (
            DomainFact("web", ("vnet0",), is_novas=False, asks=False),
            DomainFact("nova", (made.TAP,), is_novas=True, asks=True),
        ),
        elsewhere="Neutron",
    )


def test_what_agent_conf_says() -> None:
    """Whether Nova's are served, and whether others who serve matter."""
    config = LibvirtConfig(LibvirtMode.ON, nova_domains=NovaDomains.SERVE)
    assert DomainFacts(serves_nova=True) == look(Known(), config)


@pytest.mark.parametrize("is_away", [True, False])
def test_there_is_no_libvirt_to_look_at(is_away: bool) -> None:
    """Nothing is known then."""
    config = CONFIG if is_away else replace(CONFIG, enabled=LibvirtMode.OFF)
    assert look(Known(is_away=is_away), config) is None
