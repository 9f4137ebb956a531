"""Will a guest's cloud-init ask us? That depends on what its firmware says of the
machine (SMBIOS), and libvirt's default says nothing. Pure.
"""

from __future__ import annotations

from enum import StrEnum

from lxml import etree

from vagent.guests.domain import Domain
from vagent.guests.domain_xml import parse_domain

PRODUCT, MANUFACTURER = "OpenStack Nova", "OpenStack Foundation"
"""By which cloud-init's ds-identify knows OpenStack (cloud-init: tools/ds-identify)."""
OPENSTACK = frozenset({PRODUCT, "OpenStack Compute"})
SNIPPET = f"""\
<sysinfo type='smbios'>
  <system>
    <entry name='manufacturer'>{MANUFACTURER}</entry>
    <entry name='product'>{PRODUCT}</entry>
  </system>
</sysinfo>
<os>
  <!-- beside what is there -->
  <smbios mode='sysinfo'/>
</os>
"""
"""What a domain's definition needs, for people to read."""


class Asks(StrEnum):
    """What cloud-init does in a guest at its boot."""

    OPENSTACK = "openstack"
    """It asks for OpenStack's metadata."""
    EC2 = "ec2"
    """It asks for Amazon's."""
    NO = "no"
    """It finds no cloud and does nothing, unless its image names a data source."""


def asks(domain: Domain) -> Asks:
    """What cloud-init of a common cloud image makes of the domain's SMBIOS."""
    smbios = domain.smbios
    if not smbios.is_seen:
        return Asks.NO
    if smbios.fields.get("product") in OPENSTACK:
        return Asks.OPENSTACK
    serial = smbios.fields.get("serial", "").lower()
    uuid = smbios.fields.get("uuid", domain.uuid).lower()
    return Asks.EC2 if serial.startswith("ec2") and uuid.startswith("ec2") else Asks.NO


def prepared(text: str) -> str:
    """The definition of a domain with SMBIOS as OpenStack's; other entries stay. The
    same text where nothing needs to change. Raises WireError.
    """
    root = parse_domain(text, keep_all=True)
    before = etree.tostring(root)
    system = _child(_sysinfo(root), "system")
    _entry(system, "manufacturer", MANUFACTURER)
    _entry(system, "product", PRODUCT)
    _child(_child(root, "os"), "smbios").set("mode", "sysinfo")
    if etree.tostring(root) == before:
        return text
    return str(etree.tostring(root, encoding="unicode"))


def _sysinfo(root: etree._Element) -> etree._Element:
    found = root.find("sysinfo[@type='smbios']")
    if found is None:
        found = etree.SubElement(root, "sysinfo", {"type": "smbios"})
    return found


def _child(parent: etree._Element, name: str) -> etree._Element:
    found = parent.find(name)
    return etree.SubElement(parent, name) if found is None else found


def _entry(system: etree._Element, name: str, value: str) -> None:
    for entry in system.iterfind("entry"):
        if entry.get("name") == name:
            entry.text = value
            return
    etree.SubElement(system, "entry", {"name": name}).text = value
