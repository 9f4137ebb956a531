"""What this kernel can do: asked once, at the start."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.datapath.system import System
from vagent.errors import KernelError


@dataclass(frozen=True, slots=True)
class Features:
    """`nft_queue`: nftables has a `queue` statement (CONFIG_NFT_QUEUE); where it is
    missing, the xt target NFQUEUE does the same. `ip6_tables`: nftables has tables for
    IPv6. `ipv6`: this host serves IPv6. `ct_timeout`: conntrack has time-out policies
    for single flows (CONFIG_NF_CONNTRACK_TIMEOUT); without them guests' flows age as
    the host's do.
    """

    nft_queue: bool
    ip6_tables: bool = False
    ipv6: bool = False
    ct_timeout: bool = False


async def probe(system: System, table: str) -> Features:
    """Ask the kernel, and change nothing. Raises KernelError where nftables itself is
    missing or not allowed.
    """
    await system.run_nft(f"table ip {table}_probe {{ }}\n", check=True)
    return Features(
        nft_queue=await _takes(
            system, f"table ip {table}_probe {{ chain probe {{ queue num 0; }}; }}\n"
        ),
        ip6_tables=await _takes(system, f"table ip6 {table}_probe {{ }}\n"),
        ct_timeout=await _takes(
            system,
            f"table ip {table}_probe {{ ct timeout probe {{ protocol udp;"
            " l3proto ip; policy = { unreplied : 10 }; }; }\n",
        ),
    )


async def _takes(system: System, script: str) -> bool:
    try:
        await system.run_nft(script, check=True)
    except KernelError:
        return False
    return True
