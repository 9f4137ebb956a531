"""What this kernel can do, asked once, kept as data."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.datapath.system import System
from vagent.errors import KernelError


@dataclass(frozen=True, slots=True)
class Features:
    """`nft_queue`: nftables has its own `queue` statement (CONFIG_NFT_QUEUE). Where it
    is missing, the xt target NFQUEUE does the same.
    """

    nft_queue: bool


async def probe(system: System, table: str) -> Features:
    """Ask the kernel, changing nothing. Raises KernelError when nftables itself is
    missing or refused.
    """
    await system.run_nft(f"table ip {table}_probe {{ }}\n", check=True)
    try:
        await system.run_nft(
            f"table ip {table}_probe {{ chain probe {{ queue num 0; }}; }}\n",
            check=True,
        )
    except KernelError:
        return Features(nft_queue=False)
    return Features(nft_queue=True)
