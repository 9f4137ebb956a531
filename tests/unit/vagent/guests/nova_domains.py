"""Domains as five releases of Nova define them, beside one of virt-install's.

Put together from dumps of 23.2, 24.x, 25.1 and 29.0 and from what Nova 34 writes.
"""

from __future__ import annotations

INSTANCE = "8a1c2f4e-0000-4000-8000-0000000000aa"
PROJECT = "512866f9994f4ad8916d8539a7cdeec9"
PORT = "476212e4-4c1b-46c2-a4af-c1ddefba9215"
PORT2 = "99e21b5c-70a1-4b40-9c3e-3d8d6c0c6a11"
MAC = "fa:16:3e:aa:d9:23"
TAP = "tap476212e4-4c"


def nova(ports: str, *, release: str, namespace: str = "1.1") -> str:
    """Nova's metadata element."""
    return f"""<metadata>
  <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/{namespace}">
   <nova:package version="{release}"/><nova:name>web</nova:name>
   <nova:creationTime>2024-05-01 10:09:13</nova:creationTime>
   <nova:flavor name="m1.small"><nova:memory>2048</nova:memory></nova:flavor>
   <nova:owner><nova:user uuid="7fa9">u</nova:user>
    <nova:project uuid="{PROJECT}">p</nova:project></nova:owner>
   <nova:root type="image" uuid="7d6a"/>{ports}
  </nova:instance></metadata>"""


def domain(interfaces: str, metadata: str = "", *, more: str = "") -> str:
    """A running domain."""
    return f"""<domain type='kvm' id='3'>
  <name>instance-0000000e</name><uuid>{INSTANCE}</uuid>{metadata}
  <memory unit='KiB'>2097152</memory>{more}
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{interfaces}</devices>
</domain>"""


PORTS = f"""<nova:ports><nova:port uuid="{PORT}">
  <nova:ip type="fixed" address="172.1.1.43" ipVersion="4"/>
  <nova:ip type="fixed" address="2001:db8::43" ipVersion="6"/>
  <nova:ip type="fixed" address="172.1.1.44" ipVersion="4"/>
</nova:port></nova:ports>"""
OPENSTACK = """<sysinfo type='smbios'><system>
  <entry name='manufacturer'>OpenStack Foundation</entry>
  <entry name='product'>OpenStack Nova</entry></system></sysinfo>
  <os><type>hvm</type><smbios mode='sysinfo'/></os>"""
_SWITCH = f"""<virtualport type='openvswitch'>
  <parameters interfaceid='{PORT}'/></virtualport>"""


def _bridge(source: str, more: str = "", tap: str = TAP) -> str:
    return f"""<interface type='bridge'><mac address='{MAC}'/>
  <source bridge='{source}'/>{more}<target dev='{tap}'/>
  <model type='virtio'/><mtu size='1442'/></interface>"""


OPEN_VSWITCH = domain(
    _bridge("br-int", _SWITCH), nova(PORTS, release="23.2.2"), more=OPENSTACK
)
OVN = domain(_bridge("br-int", _SWITCH), nova(PORTS, release="25.1.1"), more=OPENSTACK)
LINUX_BRIDGE = domain(
    _bridge("brqc2028cd6-12"), nova(PORTS, release="24.2.1"), more=OPENSTACK
)
HYBRID = domain(
    _bridge("qbr476212e4-4c"), nova(PORTS, release="29.0.1"), more=OPENSTACK
)
OS_VIF = domain(
    f"""<interface type='ethernet'><mac address='{MAC}'/>
  <target dev='{TAP}' managed='no'/><model type='virtio'/></interface>""",
    nova(PORTS, release="34.0.0"),
    more=OPENSTACK,
)
BY_NOVA = {
    "23 Open vSwitch": OPEN_VSWITCH,
    "24 Linux bridge": LINUX_BRIDGE,
    "25 OVN": OVN,
    "29 hybrid": HYBRID,
    "34 os-vif": OS_VIF,
}
BEFORE_PORTS = domain(
    _bridge("br-int", _SWITCH), nova("", release="22.4.0", namespace="1.0")
)
"""Nova did not name ports before release 23."""
PLAIN = domain(
    """<interface type='network'><mac address='52:54:00:00:00:01'/>
  <source network='default' portid='0d' bridge='virbr0'/><target dev='vnet0'/>
  <model type='virtio'/></interface>"""
)
