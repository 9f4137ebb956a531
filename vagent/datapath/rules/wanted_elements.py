"""The elements that the kernel must hold, as its bytes, whoever wrote them. Pure.

Of ports they are those that `port_elements` sends. A test holds all of them against
what nft writes on a real kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from vagent.datapath.names import PORT_OF
from vagent.datapath.rules.port_elements import elements_of
from vagent.datapath.rules.stacked_tags import WORDS, WORDS6
from vagent.datapath.state import INDEX_BITS, Address, Attachment, NatEndpoint, Services
from vagent.kernel.nf_tables import INET, IPV4, IPV6, NETDEV
from vagent.kernel.nf_tables_dump import Elements

_MARK, _PORT = struct.Struct("=I"), struct.Struct("!H2x")


def wanted_elements(
    services: Services, attachments: Iterable[Attachment], *, ipv6: bool
) -> Elements:
    """Sets and maps with the elements that they must have; a set or map that needs none
    is missing. `ipv6` says whether the host has IPv6.
    """
    found: Elements = {}
    for address in services.addresses:
        for name in _sets_of(address):
            found.setdefault((NETDEV, name), set()).add(address.packed)
    for endpoint in services.endpoints:
        family = IPV4 if endpoint.address.version == 4 else IPV6
        found.setdefault((family, "endpoints"), set()).add(_endpoint(endpoint))
    families = {PORT_OF: INET if ipv6 else IPV4}
    by_map: dict[str, set[bytes]] = {}
    for attachment in attachments:
        for name, key, value in elements_of(attachment):
            by_map.setdefault(name, set()).add(key + value)
    for name, elements in by_map.items():
        found[families.get(name, NETDEV), name] = elements
    return found


def _sets_of(address: Address) -> tuple[str, str]:
    if address.version == 4:
        return "service_addresses", WORDS
    return "service_addresses6", WORDS6


def _endpoint(endpoint: NatEndpoint) -> bytes:
    mark = _MARK.pack(endpoint.number << INDEX_BITS)
    return mark + endpoint.address.packed + _PORT.pack(endpoint.port)
