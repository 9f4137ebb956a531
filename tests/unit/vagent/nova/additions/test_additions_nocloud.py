"""The seed of cloud-init's NoCloud source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.vagent.nova.additions.test_additions_interfaces import (
    UUID,
    instance,
    network_data,
)
from vagent.nova.additions.nocloud import as_yaml, lookup
from vagent.nova.reply import NovaReply


def seed(document: str, /, **fields: Any) -> str | None:
    path = tuple(filter(None, document.split("/")))
    found = lookup(instance(**fields), path, lambda known: known.vendor_data)
    return found.content.decode() if isinstance(found, NovaReply) else None


def test_meta_data() -> None:
    """What the source reads of them: identity, names, keys, place, and the metadata."""
    text = seed(
        "meta-data",
        name="Web",
        hostname="web",
        public_keys={"a": "ssh-ed25519 A a", "w": {"data": "x", "type": "x509"}},
        region="eu-west-1",
        meta={"role": "web"},
    )
    assert text is not None
    assert json.loads(text) == {
        "instance-id": UUID,
        "local-hostname": "web.novalocal",
        "name": "Web",
        "public-keys": ["ssh-ed25519 A a"],
        "availability-zone": "eu-west-1a",
        "region": "eu-west-1",
        "meta": {"role": "web"},
    }


def test_user_data_are_there_in_any_case() -> None:
    """Empty where there are none, as the source gives up on 404."""
    assert "#!/bin/sh\n" == seed("user-data", user_data="#!/bin/sh\n")
    assert "" == seed("user-data")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("#cloud-config\na: 1\n", "#cloud-config\na: 1\n"),
        (["#!/bin/sh\n"], '#cloud-config-archive\n[\n "#!/bin/sh\\n"\n]'),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_vendor_data(content: object, text: str | None) -> None:
    """The member that the OpenStack source takes, in the form that this one reads."""
    assert text == seed("vendor-data", vendor_data={"cloud-init": content, "x": 1})
    assert seed("vendor-data") is None


def test_network_config() -> None:
    """Made of network_data; without, the source has to go without."""
    text = seed("network-config", network_data=network_data())
    assert text is not None
    assert 2 == json.loads(text)["version"]
    assert seed("network-config") is None


def test_names() -> None:
    """They are listed; nothing else is there."""
    assert "meta-data\nnetwork-config\nuser-data\nvendor-data" == seed("")
    for name in ("meta-data/x", "password", "user_data"):
        assert seed(name) is None


def test_yaml_has_no_surrogates_and_no_bare_controls() -> None:
    """Each character outside printable ASCII is one escape of YAML (§5.7)."""
    text = as_yaml({"a": "é\U0001f600\x7f\u2028"})
    assert r'"\u00e9\U0001f600\u007f\u2028"' in text
    assert '"\\\\u"' in as_yaml({"a": "\\u"})
