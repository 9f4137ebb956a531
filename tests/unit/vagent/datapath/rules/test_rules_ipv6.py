"""IPv6 is opened, or there is a reason why not; never a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.defer import Deferred

from vagent.datapath.rules.features import Features
from vagent.datapath.rules.ipv6 import open_ipv6
from vagent.errors import KernelError

if TYPE_CHECKING:
    from vagent.datapath.names import Names
    from vagent.datapath.system import System

FEATURES = Features(nft_queue=True, ip6_tables=True)
HERE = "net/ipv6/conf/vagent1"


class Host:
    """A host; `refuses` is what it says no to."""

    def __init__(self, everywhere: str | None = "0", refuses: str = "") -> None:
        self.everywhere = everywhere
        self.refuses = refuses
        self.is_recent = True
        self.written: dict[str, str] = {}
        self.scripts: list[str] = []

    def has_sysctl(self, key: str) -> bool:
        if key == f"{HERE}/force_forwarding":
            return self.is_recent
        assert key == "net/ipv6/conf/all/disable_ipv6"
        return self.everywhere is not None

    def read_sysctl(self, key: str) -> str:
        assert key == "net/ipv6/conf/all/disable_ipv6"
        assert self.everywhere is not None
        return self.everywhere

    def write_sysctl(self, key: str, value: str) -> None:
        if self.refuses == key:
            raise KernelError("sysctl no")
        self.written[key] = value

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        del ipv6
        if self.refuses == "ip":
            raise KernelError("ip no")
        self.scripts.append(batch)

    async def run_nft(self, script: str, *, check: bool = False) -> None:
        assert check, "only asked"
        if self.refuses == "nft":
            raise KernelError("nft no")
        self.scripts.append(script)


def opened(names: Names, host: Host, features: Features = FEATURES) -> str:
    """What `open_ipv6` says of this host."""
    found: list[str] = []
    done = Deferred.fromCoroutine(open_ipv6(names, features, cast("System", host)))
    done.addCallback(found.append)
    (why,) = found
    return why


def test_it_is_opened(names: Names) -> None:
    """Its own address, no router, no duplicate address detection."""
    host = Host()
    assert "" == opened(names, host)
    assert "0" == host.written[f"{HERE}/disable_ipv6"]
    assert "0" == host.written[f"{HERE}/accept_ra"]
    assert (
        "addr replace fd40:140:1::1/32 dev vagent1 nodad noprefixroute\n"
        "route replace fd40:140::/32 dev vagent1 proto kernel mtu lock 1500\n"
    ) == host.scripts[0]
    assert "table ip6 vagent {" in host.scripts[1]


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (Host(everywhere=None), "this kernel has no IPv6"),
        (Host(everywhere="1"), "disabled on this host"),
    ],
)
def test_a_host_without_it_is_left_alone(names: Names, host: Host, why: str) -> None:
    """Nothing is written."""
    assert why in opened(names, host)
    assert {} == host.written
    assert [] == host.scripts


def test_a_kernel_without_tables_for_it(names: Names) -> None:
    """No rules, no IPv6."""
    host = Host()
    assert "no tables" in opened(names, host, Features(nft_queue=True))
    assert {} == host.written


@pytest.mark.parametrize("refuses", ["ip", "nft"])
def test_what_was_begun_is_closed_again(names: Names, refuses: str) -> None:
    """An interface without rules would be an open door."""
    host = Host(refuses=refuses)
    assert f"{refuses} no" == opened(names, host)
    assert "1" == host.written[f"{HERE}/disable_ipv6"]


def test_a_setting_that_is_refused_is_a_reason(names: Names) -> None:
    """Also when it cannot be closed."""
    host = Host(refuses=f"{HERE}/disable_ipv6")
    assert "sysctl no" == opened(names, host)


@pytest.mark.parametrize("is_recent", [False, True])
def test_it_forwards_where_one_interface_can(names: Names, *, is_recent: bool) -> None:
    """Since Linux 6.17; nothing is asked of an older kernel."""
    host = Host()
    host.is_recent = is_recent
    assert "" == opened(names, host)
    assert ("1" if is_recent else None) == host.written.get(f"{HERE}/force_forwarding")
