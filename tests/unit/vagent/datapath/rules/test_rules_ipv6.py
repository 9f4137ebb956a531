"""IPv6 is opened, or there is a reason why not; never a failure."""

from __future__ import annotations

from dataclasses import replace
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
CONF = "net/ipv6/conf"
TO_TAPS, INNER, OUTER = (f"{CONF}/{each}" for each in ("vagent1", "vagent2", "vagentu"))


class Network:
    """The settings of a network; `refuses` is what it says no to."""

    def __init__(self, everywhere: str | None = "0", refuses: str = "") -> None:
        self.everywhere = everywhere
        self.refuses = refuses
        self.is_recent = True
        self.accepts = "0"
        self.written: dict[str, str] = {}
        self.scripts: list[str] = []

    def has_sysctl(self, key: str) -> bool:
        if key.endswith("/force_forwarding"):
            return self.is_recent
        assert key == f"{CONF}/all/disable_ipv6"
        return self.everywhere is not None

    def read_sysctl(self, key: str) -> str:
        if key in (f"{CONF}/all/accept_ra", f"{CONF}/all/accept_redirects"):
            return self.accepts
        assert key == f"{CONF}/all/disable_ipv6"
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


class Both:
    """The host's network, and the namespace."""

    def __init__(
        self,
        everywhere: str | None = "0",
        *,
        host_refuses: str = "",
        inside_refuses: str = "",
    ) -> None:
        self.host = Network(everywhere, host_refuses)
        self.inside = Network(refuses=inside_refuses)

    def opened(self, names: Names, features: Features = FEATURES) -> str:
        """What `open_ipv6` says of this host."""
        found: list[str] = []
        work = open_ipv6(
            names, features, cast("System", self.host), cast("System", self.inside)
        )
        Deferred.fromCoroutine(work).addCallback(found.append)
        (why,) = found
        return why

    def written(self) -> dict[str, str]:
        return self.host.written | self.inside.written


def test_it_is_opened(names: Names) -> None:
    """On the way from the taps to the fabric: its own addresses, no router, no
    duplicate address detection.
    """
    both = Both()
    assert "" == both.opened(names)
    for here in (TO_TAPS, INNER, OUTER):
        assert "0" == both.written()[f"{here}/disable_ipv6"]
        assert "0" == both.written()[f"{here}/accept_ra"]
        assert "1" == both.written()[f"{here}/forwarding"]
    assert (
        "addr replace fd40:140:1::1/32 dev vagent1 nodad noprefixroute\n"
        "route replace fd40:140::/32 dev vagent1 proto kernel mtu lock 1500\n"
        "addr replace fd40:140::3/127 dev vagent2 nodad\n"
        "route replace default via fd40:140::2 dev vagent2\n"
    ) == both.inside.scripts[0]
    assert "addr replace fd40:140::2/127 dev vagentu nodad\n" == both.host.scripts[0]
    assert "table ip6 vagent {" in both.inside.scripts[1]
    assert "ip6 saddr fd40:140::3 masquerade" in both.host.scripts[1]


def test_only_the_uplink_has_link_local_addresses(names: Names) -> None:
    """Neighbour discovery of forwarded packets asks from one."""
    both = Both()
    both.opened(names)
    modes = [
        both.written()[f"{here}/addr_gen_mode"] for here in (TO_TAPS, INNER, OUTER)
    ]
    assert ["1", "0", "0"] == modes


def test_the_host_keeps_its_own_settings(names: Names) -> None:
    """Only those of the uplink are written there."""
    both = Both()
    both.opened(names)
    assert {OUTER} == {key.rpartition("/")[0] for key in both.host.written}


def test_the_namespace_has_ipv6_whatever_it_was_made_with(names: Names) -> None:
    """Not before it is decided, and before interfaces get their own settings: to write
    to `all` writes to each.
    """
    both = Both()
    both.inside.everywhere, both.inside.accepts = "1", "1"
    assert "" == both.opened(names)
    first = [*both.inside.written][:4]
    assert {
        f"{CONF}/all/disable_ipv6": "0",
        f"{CONF}/all/accept_ra": "0",
        f"{CONF}/all/accept_redirects": "0",
        f"{CONF}/all/forwarding": "1",
    } == {key: both.inside.written[key] for key in first}


def test_the_host_reaches_guests_where_that_is_wanted(names: Names) -> None:
    """By the uplink, from its own address there."""
    both = Both()
    both.opened(replace(names, host_to_guest=True))
    assert (
        "route replace fd40:140::/32 via fd40:140::3 dev vagentu src fd40:140::2"
        " mtu 1500\n"
    ) in both.host.scripts[0]


@pytest.mark.parametrize(
    ("everywhere", "why"),
    [(None, "this kernel has no IPv6"), ("1", "disabled on this host")],
)
def test_a_host_without_it_has_none(
    names: Names, everywhere: str | None, why: str
) -> None:
    """No address is given, and no rule tried."""
    both = Both(everywhere)
    assert why in both.opened(names)
    assert {} == both.written()
    assert [] == both.host.scripts + both.inside.scripts


def test_a_kernel_without_tables_for_it(names: Names) -> None:
    """No rules, no IPv6."""
    both = Both()
    assert "no tables" in both.opened(names, Features(nft_queue=True))
    assert {} == both.written()


@pytest.mark.parametrize(
    "both",
    [
        Both(host_refuses="ip"),
        Both(host_refuses="nft"),
        Both(inside_refuses="ip"),
        Both(inside_refuses="nft"),
    ],
)
def test_what_was_begun_is_closed_again(names: Names, both: Both) -> None:
    """Interfaces without rules would be an open door."""
    refuses = both.host.refuses or both.inside.refuses
    assert f"{refuses} no" == both.opened(names)
    for here in (TO_TAPS, INNER, OUTER):
        assert "1" == both.written()[f"{here}/disable_ipv6"]


@pytest.mark.parametrize(
    "both",
    [
        Both(inside_refuses=f"{TO_TAPS}/disable_ipv6"),
        Both(inside_refuses=f"{INNER}/disable_ipv6"),
        Both(host_refuses=f"{OUTER}/disable_ipv6"),
    ],
)
def test_a_setting_that_is_refused_is_a_reason(names: Names, both: Both) -> None:
    """Also when it cannot be closed; the others are."""
    refused = both.host.refuses or both.inside.refuses
    assert "sysctl no" == both.opened(names)
    for here in (TO_TAPS, INNER, OUTER):
        key = f"{here}/disable_ipv6"
        assert (None if key == refused else "1") == both.written().get(key)


@pytest.mark.parametrize("is_recent", [False, True])
def test_it_forwards_where_one_interface_can(names: Names, *, is_recent: bool) -> None:
    """Since Linux 6.17; nothing is asked of an older kernel."""
    both = Both()
    both.host.is_recent = both.inside.is_recent = is_recent
    assert "" == both.opened(names)
    for here in (TO_TAPS, INNER, OUTER):
        found = both.written().get(f"{here}/force_forwarding")
        assert ("1" if is_recent else None) == found
