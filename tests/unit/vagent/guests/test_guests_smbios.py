"""Promises of vagent.guests.smbios: whether a guest's cloud-init will ask."""

from __future__ import annotations

import pytest

from tests.unit.vagent.guests import nova_domains as made
from vagent.guests.domain_xml import read_domain
from vagent.guests.smbios import SNIPPET, Asks, asks, prepared


def entry(**fields: str) -> str:
    """SMBIOS with these entries."""
    entries = "".join(f"<entry name='{n}'>{v}</entry>" for n, v in fields.items())
    return (
        f"<sysinfo type='smbios'><system>{entries}</system></sysinfo>"
        "<os><type>hvm</type><smbios mode='sysinfo'/></os>"
    )


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ("", Asks.NO),
        (made.OPENSTACK, Asks.OPENSTACK),
        (made.OPENSTACK.replace("mode='sysinfo'", "mode='host'"), Asks.NO),
        (entry(product="OpenStack Compute"), Asks.OPENSTACK),
        (entry(product="OpenStack"), Asks.NO),
        (entry(serial="EC2a", uuid="EC2b"), Asks.EC2),
        (entry(serial="ec2a"), Asks.NO),
        (entry(uuid="ec2b"), Asks.NO),
        (entry(manufacturer="OpenStack Foundation"), Asks.NO),
    ],
)
def test_whether_cloud_init_will_ask(more: str, answer: Asks) -> None:
    """As its ds-identify decides."""
    assert answer is asks(read_domain(made.domain("", more=more)))


@pytest.mark.parametrize(
    "more",
    [
        "",
        "<os><type>hvm</type></os>",
        "<os><smbios mode='host'/></os>",
        entry(product="KVM", serial="7"),
        "<sysinfo type='fwcfg'/>",
    ],
)
def test_a_prepared_domain_asks(more: str) -> None:
    """Whatever stood there; other entries and elements stay, once is enough."""
    text = made.domain("<interface type='user'/>", more=more)
    after = prepared(text)
    found = read_domain(after)
    assert Asks.OPENSTACK is asks(found)
    assert ("user",) == found.unserved
    assert ("7" if "serial" in more else None) == found.smbios.fields.get("serial")
    assert after == prepared(after)
    assert ("hvm" in more) == ("<type>hvm</type>" in after)


def test_what_others_wrote_into_a_definition_stays() -> None:
    """Comments, elements in other namespaces, and text that needs escapes."""
    more = "<metadata><x:y xmlns:x='urn:x'><!-- c -->&lt;&#228;</x:y></metadata>"
    after = prepared(made.domain("", more=more))
    assert "<!-- c -->&lt;ä</x:y>" in after
    assert 'xmlns:x="urn:x"' in after


def test_a_domain_that_asks_is_not_touched() -> None:
    """Not a letter of it."""
    assert made.OVN == prepared(made.OVN)


def test_the_snippet_says_what_prepare_writes() -> None:
    """Somebody who copies it has the same."""
    assert Asks.OPENSTACK is asks(read_domain(made.domain("", more=SNIPPET)))
