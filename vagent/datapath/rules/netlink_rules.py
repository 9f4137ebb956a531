"""The rule that nft cannot write everywhere, as messages for `kernel.nf_tables`.

Kernels without CONFIG_NFT_QUEUE have no `queue` statement, but they have the iptables
target NFQUEUE, which nftables can carry and nft cannot write.
"""

from __future__ import annotations

from vagent.datapath.names import QUEUE_CHAIN, Names
from vagent.datapath.rules.features import Features
from vagent.kernel.nf_tables import IPV4, IPV6, NftMessage, insert_rule, xt_queue


def netlink_rules(names: Names, features: Features) -> list[NftMessage]:
    """One transaction that inserts these rules into tables that were just replaced; []
    where nft can write them.
    """
    if features.nft_queue:
        return []
    queue = xt_queue(names.queue_number)
    return [
        message
        for family in (IPV4, *[IPV6] * features.ipv6)
        for message in insert_rule(family, names.table, QUEUE_CHAIN, queue)
    ]
