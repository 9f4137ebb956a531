"""Public keys: every form that Nova holds, and every refusal by name."""

from __future__ import annotations

from typing import Any

import pytest

from vagent.errors import WireError
from vagent.nova.fields import Fields
from vagent.nova.instance import PublicKey
from vagent.nova.public_keys import MAX_KEY, public_keys

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def read(value: object) -> tuple[PublicKey, ...]:
    fields = Fields("instance", {"public_keys": value})
    found = public_keys(fields)
    fields.finish()
    return found


@pytest.mark.parametrize("name", ["a", "a/", "a b", " ", "0=x", "schlüssel", "a\nb"])
@pytest.mark.parametrize("data", ["ssh-rsa A", "ssh-rsa A alice\n", "", "x" * MAX_KEY])
def test_odd_names_and_keys(name: str, data: str) -> None:
    """Any name, and a key as it is: with a final newline, or empty."""
    assert (PublicKey(name, data),) == read({name: data})


def test_a_key_without_a_name_is_not_shown() -> None:
    """Nova shows none; in a list a key that says nothing of its name gets one."""
    assert () == read({"": "ssh-rsa A"})
    listed = [{"name": "", "data": "ssh-rsa A"}, "ssh-rsa B", {"data": "ssh-rsa C"}]
    assert ["key-1", "key-2"] == [key.name for key in read(listed)]


def test_certificates_and_deleted_key_pairs() -> None:
    """Both are said in an object instead of the text, in either form."""
    said: dict[str, Any] = {"data": PEM, "type": "x509", "deleted": True}
    expected = (PublicKey("win", PEM, "x509", True),)
    assert expected == read({"win": said}) == read([{"name": "win", **said}])


def test_nothing_given() -> None:
    """No keys."""
    assert () == public_keys(Fields("instance", {}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ssh-rsa A", "instance.public_keys: got 'ssh-rsa A', allowed is an object"),
        ([5], "instance.public_keys[0]: got 5, allowed is a text or an object"),
        ({"a": 5}, "instance.public_keys['a']: got 5, allowed is a text or an object"),
        ({"a": {}}, "instance.public_keys['a'].data: is missing"),
        ({"a": {"data": 5}}, "['a'].data: got 5, allowed is a text"),
        ({"a": {"data": "", "type": "pgp"}}, "type: got 'pgp', allowed is ssh or x509"),
        ({"a": {"data": "", "deleted": 1}}, "deleted: got 1, allowed is true or false"),
        ({"a": {"data": "", "name": "b"}}, "['a']: unknown field 'name'"),
        ([{"name": 5, "data": ""}], "public_keys[0].name: got 5, allowed is a text"),
        ({"a": "x" * (MAX_KEY + 1)}, f"got {MAX_KEY + 1} characters"),
        ({"a": {"data": "x" * (MAX_KEY + 1)}}, f"['a'].data: got {MAX_KEY + 1} char"),
        ({"n" * 256: ""}, "got 256 characters, allowed are 255"),
        ([{"name": "n" * 256, "data": ""}], "public_keys[0].name: got 256 characters"),
    ],
)
def test_refusals(value: object, expected: str) -> None:
    """Each says where, what was found and what is allowed."""
    with pytest.raises(WireError) as refusal:
        read(value)
    assert expected in str(refusal.value)
