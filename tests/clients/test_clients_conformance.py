"""The embedded server beside a running Nova: the same requests, byte for byte.

Both know the same guests. What differs must have a line in tests/nova_waivers.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lab.agent import SECRET
from tests.clients.conftest import PORTS
from tests.clients.facts import FACTS, VENDOR_DATA
from tests.clients.real_nova import HERE
from tests.nova_waivers import waiver_for
from vagent.nova import ec2, openstack

pytestmark = pytest.mark.system

FIXTURES = HERE.parent / "fixtures" / "nova"
OPENSTACK = ("", "meta_data.json", "user_data", "vendor_data.json", "network_data.json")
MORE_OPENSTACK = ("vendor_data2.json", "password", "version", "nope", "content/0000")
MALFORMED = (
    b"*",
    b"latest",
    b"ec2/latest",
    b"./latest",
    b"localhost:80",
    b"x:/latest",
    b"http:/latest",
    b"http://[x/latest",
    b"\\latest",
    b"?/latest",
    b"#x",
    b"",
    b"/ latest",
    b"/\xff",
    b"/latest/meta-data/\xc3\xa9",
    b"/latest/\x85meta-data/hostname",
    b"/latest/meta-data/hostname\xa0",
    b"/latest/meta-data/hostname?\xff",
    b"/latest/meta-data/hostname#\xff",
    b"/latest/meta-data/\x01hostname",
    b"/latest/meta-data/host\x0bname",
    b"/latest/meta-data/\x7f",
    b"/latest/meta-data/hostname\t",
    b"\xe9://x/latest",
)
TARGETS = (
    b"ftp://x/latest/meta-data/hostname",
    b"FTP://x/latest/meta-data/hostname?a=b#c",
    b"f+p.-1://u:p@x:y/latest/meta-data/hostname",
    b"https://x:1/latest",
    b"ftp://x",
    b"ftp://x/",
    b"ftp://",
    b"x://y/latest",
    b"http:///latest/meta-data/hostname",
    b"http://[::1]/latest/meta-data/hostname",
    b"1ftp://x/latest",
    b"f_p://x/latest",
    b"//latest/meta-data/hostname",
    b"//x/latest/meta-data/hostname",
    b"/latest/%2e%2e/openstack",
    b"/latest/../openstack",
    b"/latest%2fmeta-data%2fhostname",
    b"/latest/meta-data/%68ostname",
    b"/latest/meta-data/hostname;x",
    b"/latest/meta-data/hostname%00",
    b"/latest/meta-data/hostname%",
    b"/latest/meta-data/hostname\\",
    b"/%c3%a9",
    b"/%e9",
    b"/.",
    b"/..",
    b"/#/latest",
    b"/latest/meta-data/public-keys/0/_name",
    b"/latest/meta-data/iam/security-credentials/",
    b"/latest/api/token",
    b"/openstack/2011-01-01",
    b"/1999-01-01/meta-data",
)
METHODS = (b"HEAD", b"POST", b"PUT", b"DELETE", b"TRACE", b"FOO", b"G-T", b"CONNECT")
NO_METHODS = (b"get", b"Get", b"G@T", b"X" * 21)
VERSIONS = (b"HTTP/1.0", b"HTTP/1.2")
NO_VERSIONS = (b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"")


@dataclass(frozen=True)
class Request:
    """`names` are what waivers call it."""

    names: tuple[str, ...]
    raw: bytes


@dataclass(frozen=True)
class Reply:
    """What clients see of it."""

    status: int
    kind: bytes
    body: bytes


def request(
    guest: Any,
    target: bytes,
    *,
    name: str = "",
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    accept: str = "*/*",
) -> Request:
    uuid = guest.instance_id
    signature = hmac.new(SECRET.encode(), uuid.encode(), hashlib.sha256).hexdigest()
    lines = [
        b"%b %b %b" % (method, target, version),
        *(b"Host: localhost", b"Connection: close", b"Content-Length: 0"),
        f"X-Instance-ID: {uuid}".encode(),
        f"X-Instance-ID-Signature: {signature}".encode(),
        f"X-Tenant-ID: {guest.tenant_id}".encode(),
        f"X-Forwarded-For: {guest.address}".encode(),
        f"Accept: {accept}".encode("latin-1"),
    ]
    text = target.decode("latin-1")
    return Request((name or text, text), b"\r\n".join([*lines, b"", b""]))


def ask(town: Any, upstream: str, requests: Sequence[Request]) -> list[Reply]:
    """What a server answers to each; a repetition of the random seed does not count."""
    file = town.folder / "raw.json"
    file.write_text(
        json.dumps([base64.b64encode(one.raw).decode() for one in requests])
    )
    said = town.lab.host.run(
        *(sys.executable, str(HERE / "raw_ask.py"), str(PORTS[upstream])),
        *(str(town.folder / "pki"), str(file)),
    )
    return [reply(base64.b64decode(text)) for text in json.loads(said)]


def reply(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in lines)
    body = re.sub(rb'"random_seed": "[^"]{680,}"', b'"random_seed": ""', body)
    return Reply(int(first.split()[1]), fields.get(b"content-type", b""), body)


def differences(town: Any, requests: Sequence[Request]) -> list[str]:
    """Those that nobody agreed to."""
    found = []
    nova, here = ask(town, "nova", requests), ask(town, "embedded", requests)
    for one, theirs, ours in zip(requests, nova, here, strict=True):
        waiver = waiver_for(*one.names)
        agreed = waiver is not None and waiver.allows(theirs.status, ours.status)
        if theirs != ours and not agreed:
            found.append(f"{one.names[0]}: Nova {theirs}, here {ours}")
    return found


@pytest.fixture(scope="module")
def alike(built: Any) -> Iterator[Any]:
    """Documents with the ids that Nova took from its database."""
    names = {
        "ec2_instance_id": "instance-id",
        "reservation_id": "reservation-id",
        "ami_id": "ami-id",
        "instance_type": "instance-type",
    }
    targets = [f"/latest/meta-data/{name}".encode() for name in names.values()]
    mapping = b"/latest/meta-data/block-device-mapping/"
    built.nova.heal()
    for name, guest in built.guests.items():
        asked = [request(guest, target) for target in targets]
        ids = [one.body.decode() for one in ask(built, "nova", asked)]
        (listing,) = ask(built, "nova", [request(guest, mapping)])
        devices = listing.body.decode().split()
        asked = [request(guest, mapping + device.encode()) for device in devices]
        shown = [one.body.decode() for one in ask(built, "nova", asked)]
        built.describe(
            name,
            **dict(zip(names, ids, strict=True)),
            block_devices=dict(zip(devices, shown, strict=True)),
            vendor_data=VENDOR_DATA,
        )
    yield built
    for name in built.guests:
        built.describe(name)


@pytest.mark.parametrize("name", FACTS)
def test_every_path_of_every_version(alike: Any, name: str) -> None:
    """All that Nova lists in either tree, and what it serves without listing it."""
    guest = alike.guests[name]
    pending = [f"/{version}/".encode() for version in (*ec2.VERSIONS, "latest")]
    pending += [b"/", b"/ec2", b"/ec2/latest", b"/openstack"]
    pending += [
        f"/openstack/{version}/{document}".encode()
        for version in (*openstack.VERSIONS, "latest")
        for document in (*OPENSTACK, *MORE_OPENSTACK)
    ]
    count = 0
    while pending:
        requests = [request(guest, target) for target in pending]
        assert [] == differences(alike, requests)
        count += len(requests)
        listings = [
            target
            for target in pending
            if target.endswith(b"/") and not target.startswith(b"/openstack")
        ]
        found = ask(alike, "nova", [request(guest, target) for target in listings])
        pending = [
            below
            for target, listing in zip(listings, found, strict=True)
            if target != b"/" and listing.status == 200
            for below in entries(target, listing.body)
        ]
    assert count > 250, count


def entries(target: bytes, listing: bytes) -> Iterator[bytes]:
    """What a listing of the EC2 tree leads to."""
    for entry in listing.split(b"\n"):
        number, mark, _ = entry.partition(b"=")
        yield target + (number + b"/" if mark else entry)


def test_targets(alike: Any) -> None:
    """Schemes, escapes, dots, slashes; what is no target is refused by both."""
    guest = alike.guests["alice"]
    requests = [request(guest, target) for target in TARGETS]
    requests += [
        request(guest, target, name=f"malformed {target!r}") for target in MALFORMED
    ]
    assert [] == differences(alike, requests)


def test_methods_and_versions(alike: Any) -> None:
    """All methods are GET but what is none; HTTP/1."""
    guest, target = alike.guests["alice"], b"/latest/meta-data/hostname"
    requests = [request(guest, target, method=method) for method in METHODS]
    requests += [
        request(guest, target, method=method, name=f"malformed {method!r}")
        for method in NO_METHODS
    ]
    requests += [
        request(guest, target, version=one, name=f"version {one.decode()}")
        for one in VERSIONS
    ]
    requests += [
        request(guest, target, version=one, name=f"malformed {one!r}")
        for one in NO_VERSIONS
    ]
    assert [] == differences(alike, requests)


def test_accept(alike: Any) -> None:
    """The form of an error, for all headers of the recorded choices of webob."""
    chosen = json.loads((FIXTURES / "webob_accept.json").read_text())["chosen"]
    guest = alike.guests["alice"]
    requests = [
        request(guest, b"/nope", accept=accept, name=f"Accept: {accept}")
        for headers in chosen.values()
        for accept in headers[::4]
    ]
    assert len(requests) > 80
    assert [] == differences(alike, requests)
