"""Reads libvirt's XML of a domain. Pure; the text is not trusted.

Who may define a domain chooses nearly every text in it, so the document is bounded,
entities and document types are refused, and nothing is fetched. What is read is checked
again where it becomes a port, by the rules of the port API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from vagent.errors import WireError
from vagent.guests.domain import Domain, Interface, NovaInstance, NovaPort, Smbios
from vagent.ports.members import NIL, UUID

MAX_XML = 4 * 1024 * 1024
"""Characters of a domain's XML: what libvirt's own protocol carries in a string
(VIR_NET_MESSAGE_STRING_MAX)."""
MAX_INTERFACES = 256
"""Interfaces of one domain: more than PCI Express gives a machine of QEMU's."""
MAX_PORTS = 256
MAX_ADDRESSES = 128
"""Fixed addresses of one port; a port may have 64."""
MAX_TEXT = 255

NOVA = re.compile(r"http://openstack\.org/xmlns/libvirt/nova/1\.[0-9]")
"""Namespaces of Nova's metadata element: 1.0, and 1.1 since it names ports."""
WITH_TAP = frozenset({"network", "bridge", "ethernet"})
"""Types of interfaces that have a tap of the host. Not so `direct` (macvtap),
`hostdev` (SR-IOV), `vhostuser`, `vdpa`, `user` and `internal`."""
_SMBIOS = frozenset({"product", "manufacturer", "serial", "uuid"})


def read_domain(text: str) -> Domain:
    """The domain that the XML describes. Raises WireError, which quotes nothing."""
    root = parse_domain(text)
    uuid = _text(root, "uuid").lower()
    if not UUID.fullmatch(uuid) or uuid == NIL:
        raise WireError("domain: <uuid> is missing or no UUID")
    interfaces: list[Interface] = []
    unserved: list[str] = []
    for number, element in enumerate(root.iterfind("devices/interface")):
        if number >= MAX_INTERFACES:
            raise WireError(f"domain: more than {MAX_INTERFACES} interfaces")
        found = _interface(element)
        if found is None:
            unserved.append(_attribute(element, ".", "type"))
        else:
            interfaces.append(found)
    return Domain(
        uuid,
        _text(root, "name"),
        tuple(interfaces),
        _nova(root),
        _smbios(root),
        tuple(unserved),
    )


def parse_domain(text: str, *, keep_all: bool = False) -> etree._Element:
    """The `<domain>` element, with `keep_all` its comments and processing instructions
    as well. Raises WireError.
    """
    if len(text) > MAX_XML:
        raise WireError(f"domain: {len(text)} characters of XML, at most {MAX_XML}")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        remove_comments=not keep_all,
        remove_pis=not keep_all,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError):
        raise WireError("domain: not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise WireError("domain: XML with a document type")
    if root.tag != "domain":
        raise WireError("domain: the root element is not <domain>")
    return root


def _interface(element: etree._Element) -> Interface | None:
    """The interface, None where it has no tap, or not yet."""
    tap = _attribute(element, "target", "dev")
    # A network of libvirt's that hands out macvtaps says so by a mode.
    is_direct = bool(_attribute(element, "source", "mode"))
    if element.get("type") not in WITH_TAP or is_direct or not tap:
        return None
    port_id = _attribute(element, "virtualport/parameters", "interfaceid").lower()
    return Interface(
        mac=_attribute(element, "mac", "address").lower(),
        tap=tap,
        port_id=port_id if UUID.fullmatch(port_id) else "",
    )


def _nova(root: etree._Element) -> NovaInstance | None:
    for element in root.iterfind("metadata/*"):
        name = etree.QName(element)
        if name.localname == "instance" and NOVA.fullmatch(name.namespace or ""):
            return _instance(element, f"{{{name.namespace}}}")
    return None


def _instance(element: etree._Element, nova: str) -> NovaInstance:
    return NovaInstance(
        _text(element, f"{nova}name"),
        _attribute(element, f"{nova}owner/{nova}project", "uuid"),
        tuple(_nova_ports(element, nova)),
    )


def _nova_ports(element: etree._Element, nova: str) -> Iterator[NovaPort]:
    for number, port in enumerate(element.iterfind(f"{nova}ports/{nova}port")):
        if number >= MAX_PORTS:
            raise WireError(f"domain: Nova names more than {MAX_PORTS} ports")
        uuid = _attribute(port, ".", "uuid").lower()
        if UUID.fullmatch(uuid):
            yield NovaPort(uuid, tuple(_addresses(port, nova)))


def _addresses(port: etree._Element, nova: str) -> Iterator[str]:
    for number, ip in enumerate(port.iterfind(f"{nova}ip")):
        if number >= MAX_ADDRESSES:
            raise WireError(f"domain: a port has more than {MAX_ADDRESSES} addresses")
        if ip.get("type") == "fixed":
            yield _attribute(ip, ".", "address")


def _smbios(root: etree._Element) -> Smbios:
    fields = {
        name: _own_text(entry)
        for entry in root.iterfind("sysinfo[@type='smbios']/system/entry")
        if (name := entry.get("name")) in _SMBIOS
    }
    return Smbios(_attribute(root, "os/smbios", "mode") == "sysinfo", fields)


def _text(parent: etree._Element, path: str) -> str:
    found = parent.find(path)
    return "" if found is None else _own_text(found)


def _own_text(element: etree._Element) -> str:
    return (element.text or "").strip()[: MAX_TEXT + 1]


def _attribute(parent: etree._Element, path: str, name: str) -> str:
    found = parent.find(path)
    return "" if found is None else str(found.get(name, ""))[: MAX_TEXT + 1]
