"""The public keys of an instance document, in each of their forms.

Nova has one key for each instance, and holds it twice: the EC2 tree shows the
instance's own copy, meta_data.json the key pair's, which may have been deleted since.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.errors import WireError
from vagent.nova.fields import Fields, check_any_text, shown
from vagent.nova.instance import PublicKey

MAX_KEYS = 64
"""Public keys. Nova has one; cloud images have shown no need for more than a few."""
MAX_KEY = 65_535
"""Characters of a public key or certificate; an RSA key of 16,384 bits takes 2,800, but
Nova limits neither its comment nor a chain of certificates."""
TYPES = ("ssh", "x509")


def public_keys(fields: Fields) -> tuple[PublicKey, ...]:
    """Keys from a list (named key-0, key-1, … unless they say their name) or an object
    name → key. As in Nova, a key whose name is empty is shown nowhere.
    """
    named: list[tuple[str, PublicKey]]
    if fields.is_list("public_keys"):
        listed = fields.items("public_keys", _listed, most=MAX_KEYS, default=())
        named = [
            (f"key-{index}" if name is None else name, key)
            for index, (name, key) in enumerate(listed)
        ]
    else:
        named = list(fields.pairs("public_keys", _key, most=MAX_KEYS))
    return tuple(replace(key, name=name) for name, key in named if name)


def _listed(where: str, value: object) -> tuple[str | None, PublicKey]:
    if isinstance(value, dict) and "name" in value:
        rest = {name: found for name, found in value.items() if name != "name"}
        return check_any_text(f"{where}.name", value["name"], 255), _key(where, rest)
    return None, _key(where, value)


def _key(where: str, value: object) -> PublicKey:
    if isinstance(value, str):
        return PublicKey("", check_any_text(where, value, MAX_KEY))
    if not isinstance(value, dict):
        raise WireError(f"{where}: got {shown(value)}, allowed is a text or an object")
    fields = Fields(where, value)
    data = check_any_text(f"{where}.data", fields.take("data", str), MAX_KEY)
    kind = fields.text("type", "ssh")
    if kind not in TYPES:
        raise fields.wrong("type", shown(kind), " or ".join(TYPES))
    deleted: bool = fields.take("deleted", bool, False)
    fields.finish()
    return PublicKey("", data, kind, deleted)
