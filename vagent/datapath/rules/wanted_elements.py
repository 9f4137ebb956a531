"""The elements that the kernel must hold, as its bytes, whoever wrote them. Pure.

Of ports they are those that `port_elements` sends. A test holds all of them against
what nft writes on a real kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from vagent.datapath.names import PORT_OF, Names
from vagent.datapath.rules.port_elements import element_of
from vagent.datapath.state import INDEX_BITS, Attachment, NatEndpoint, Services
from vagent.kernel.nf_tables import INET, IPV4, IPV6
from vagent.kernel.nf_tables_dump import Elements

_MARK, _PORT = struct.Struct("=I"), struct.Struct("!H2x")


def wanted_elements(
    names: Names,
    services: Services,
    attachments: Iterable[Attachment],
    *,
    ipv6: bool,
) -> Elements:
    """Sets and maps with the elements that they must have; a set or map that needs none
    is missing. `ipv6` says whether the host has IPv6.
    """
    found: Elements = {}
    for endpoint in services.endpoints:
        family = IPV4 if endpoint.address.version == 4 else IPV6
        found.setdefault((family, "endpoints"), set()).add(_endpoint(names, endpoint))
    ports = {one.key + one.value for one in map(element_of, attachments) if one}
    if ports:
        found[INET if ipv6 else IPV4, PORT_OF] = ports
    return found


def _endpoint(names: Names, endpoint: NatEndpoint) -> bytes:
    mark = _MARK.pack(endpoint.number << INDEX_BITS)
    address, port = endpoint.seen_inside(names.uplink_address)
    return mark + address.packed + _PORT.pack(port)
