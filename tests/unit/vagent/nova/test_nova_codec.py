"""Instance documents: what is taken, what stands in, and every refusal by name."""

from __future__ import annotations

import base64
import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.errors import WireError
from vagent.nova import codec, members, public_keys
from vagent.nova.codec import check_instance, decode_instance
from vagent.nova.instance import Ec2Names, InjectedFile, Instance, PublicKey

UUID = "1a2b3c00-0000-4000-8000-000000000003"
TENANT = "7e000000000040008000000000000001"
SMALLEST = {"uuid": UUID, "tenant_id": TENANT}
FULL: dict[str, Any] = {
    **SMALLEST,
    "name": "Web 1 ☃",
    "hostname": "web-1",
    "domain": "example.test",
    "instance_type": "m1.tiny",
    "launch_index": 3,
    "availability_zone": None,
    "security_groups": ["default", "Ünïcode grp"],
    "fixed_addresses": ["10.0.0.5", "2001:db8::5"],
    "floating_addresses": ["203.0.113.5"],
    "block_devices": {"ami": "vda", "root": "/dev/vda", "ebs0": "/dev/vdb"},
    "dedicated_cpus": [0, 2],
    "public_keys": {"alice": "ssh-ed25519 AAAA alice"},
    "meta": {"role": "web", "empty": ""},
    "user_data_base64": base64.b64encode(bytes(range(256))).decode(),
    "network_config": "auto lo\n",
    "files": [{"path": "/etc/motd", "content_base64": "aGk="}],
    "network_data": {"links": [], "networks": [], "services": []},
    "devices": [{"type": "nic", "mac": "fa:16:3e:00:00:01", "tags": ["a"]}],
    "vendor_data": {"cloud-init": "#cloud-config\n", "n": [1, None]},
    "boot_roles": ["admin", "member"],
    "image_id": "cirros",
    "ec2_instance_id": "i-1",
    "ami_id": "ami-1",
    "kernel_id": "aki-1",
    "ramdisk_id": "ari-1",
    "reservation_id": "r-1",
    "region": "eu-west-1",
    "partition": "aws-cn",
    "services_domain": "amazonaws.com.cn",
}


def with_field(name: str, value: object) -> dict[str, Any]:
    return {**SMALLEST, name: value}


def test_smallest_document() -> None:
    """Only uuid and tenant are required; the rest has stable defaults."""
    instance = decode_instance(SMALLEST)
    assert f"vm-{UUID}" == instance.name == instance.hostname
    assert "custom" == instance.instance_type
    assert f"vm-{UUID}.novalocal" == instance.full_hostname
    assert instance.user_data is None
    assert instance.network_data is None
    assert instance.ec2.image is None
    assert instance.availability_zone == "nova"
    assert instance.security_groups == ("default",)
    assert instance == decode_instance(SMALLEST)


def test_derived_names_differ_between_guests() -> None:
    """UUIDs that differ in the last digit only give other EC2 ids and reservations."""
    one = decode_instance(SMALLEST).ec2
    other = decode_instance(with_field("uuid", UUID[:-1] + "4")).ec2
    assert one.instance != other.instance
    assert one.reservation != other.reservation


def test_every_field_is_taken_as_it_is() -> None:
    """Nothing is lost or changed on the way into the instance."""
    assert decode_instance(FULL) == Instance(
        uuid=UUID,
        tenant_id=TENANT,
        name="Web 1 ☃",
        hostname="web-1",
        domain="example.test",
        ec2=Ec2Names(
            instance="i-1",
            image="ami-1",
            kernel="aki-1",
            ramdisk="ari-1",
            reservation="r-1",
            region="eu-west-1",
            partition="aws-cn",
            services_domain="amazonaws.com.cn",
        ),
        image_id="cirros",
        instance_type="m1.tiny",
        launch_index=3,
        availability_zone=None,
        security_groups=("default", "Ünïcode grp"),
        fixed_addresses=(IPv4Address("10.0.0.5"), IPv6Address("2001:db8::5")),
        floating_addresses=(IPv4Address("203.0.113.5"),),
        block_devices=(("ami", "vda"), ("root", "/dev/vda"), ("ebs0", "/dev/vdb")),
        dedicated_cpus=(0, 2),
        public_keys=(PublicKey("alice", "ssh-ed25519 AAAA alice"),),
        meta=(("role", "web"), ("empty", "")),
        user_data=bytes(range(256)),
        network_config="auto lo\n",
        files=(InjectedFile("/etc/motd", b"hi"),),
        network_data={"links": [], "networks": [], "services": []},
        devices=({"type": "nic", "mac": "fa:16:3e:00:00:01", "tags": ["a"]},),
        vendor_data={"cloud-init": "#cloud-config\n", "n": [1, None]},
        boot_roles=("admin", "member"),
    )


@pytest.mark.parametrize(
    ("fields", "zone", "region"),
    [
        ({}, "nova", "nova"),
        ({"region": "eu-west-1"}, "eu-west-1a", "eu-west-1"),
        ({"availability_zone": "eu-west-1b"}, "eu-west-1b", "eu-west-1"),
        ({"availability_zone": "rack-7"}, "rack-7", "rack-7"),
        ({"availability_zone": "room 1a"}, "room 1a", "nova"),
        ({"availability_zone": None}, None, "nova"),
        ({"availability_zone": None, "region": "one"}, None, "one"),
    ],
)
def test_region_and_zone(fields: dict[str, Any], zone: str | None, region: str) -> None:
    """Each is made of the other where only one is given, so that botocore, which takes
    the zone without its last letter, is right.
    """
    instance = decode_instance({**SMALLEST, **fields})
    assert (zone, region) == (instance.availability_zone, instance.ec2.region)


def test_an_empty_domain_gives_services_one() -> None:
    """`services/domain` is never an empty text, which is no leaf for cloud-init."""
    assert (
        "localdomain" == decode_instance({**SMALLEST, "domain": ""}).ec2.services_domain
    )


def test_an_unknown_field_is_told_with_its_neighbours_once() -> None:
    """Each field that is allowed is named once, the nearest before all."""
    with pytest.raises(WireError) as raised:
        decode_instance(with_field("userdata", "x"))
    text = str(raised.value)
    assert "unknown field 'userdata'; nearest known name: user_data;" in text
    names = text.partition("allowed are ")[2].split(", ")
    assert sorted(set(names)) == names
    assert {"uuid", "user_data", "user_data_base64", "region"} <= set(names)


def test_capitals_of_a_uuid_are_undone() -> None:
    """A UUID in capitals means the same guest."""
    assert UUID == decode_instance({**SMALLEST, "uuid": UUID.upper()}).uuid


@pytest.mark.parametrize(
    "tenant",
    ["7E000000-0000-4000-8000-000000000001", "admin", "a b", "x" * 255, TENANT.upper()],
)
def test_a_project_is_kept_letter_for_letter(tenant: str) -> None:
    """Nova compares it so; it need not be a UUID."""
    assert tenant == decode_instance(with_field("tenant_id", tenant)).tenant_id


@pytest.mark.parametrize("name", ["hostname", "domain"])
@pytest.mark.parametrize(
    "text",
    [
        "web_1",
        "_srv.example",
        "web.",
        "a",
        "münchen",
        ".".join(["x" * 63] * 4),
        "a-.b-",
    ],
)
def test_host_names_of_nova(name: str, text: str) -> None:
    """Underscores, a final dot, letters of Latin-1, 255 characters."""
    assert text == getattr(decode_instance(with_field(name, text)), name)


@pytest.mark.parametrize("zone", ["", None, "zone é"])
def test_zones_of_nova(zone: str | None) -> None:
    """A zone may be empty, which is not the same as none."""
    raw = with_field("availability_zone", zone)
    assert zone == decode_instance(raw).availability_zone


def test_what_nova_may_not_have() -> None:
    """Launch index, reservation and the name of a device may be null."""
    raw = {
        **SMALLEST,
        "launch_index": None,
        "reservation_id": None,
        "block_devices": {"ebs0": None},
    }
    instance = decode_instance(raw)
    assert instance.launch_index is None
    assert instance.ec2.reservation is None
    assert (("ebs0", None),) == instance.block_devices


def test_files_as_text_or_base64() -> None:
    """The content of a file is text or base64, its path any line."""
    files = [
        {"path": "/etc/é x", "content": "é\x00\n"},
        {"path": "/b", "content_base64": "/w=="},
    ]
    assert (
        InjectedFile("/etc/é x", "é\x00\n".encode()),
        InjectedFile("/b", b"\xff"),
    ) == decode_instance(with_field("files", files)).files


def test_metadata_are_any_texts() -> None:
    """Control characters, empty texts, and more than Nova's default quota."""
    meta = {"a\nb": "\x00\x1b[0m\n", "": "", **{f"k{n}": "v" for n in range(1000)}}
    assert tuple(meta.items()) == decode_instance(with_field("meta", meta)).meta


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("Full VM #1", "full-vm-1"),
        ("snowman ☃", "snowman"),
        ("☃", f"vm-{UUID}"),
        ("a...b", "a.b"),
        ("a" * 100, "a" * 63),
    ],
)
def test_hostname_is_made_of_the_name(name: str, hostname: str) -> None:
    """Without a host name, the display name gives one that DNS can bear."""
    assert hostname == decode_instance(with_field("name", name)).hostname


def test_empty_domain() -> None:
    """An empty domain leaves the bare host name."""
    raw = {**SMALLEST, "domain": "", "hostname": "a"}
    assert decode_instance(raw).full_hostname == "a"


def test_short_form_of_keys() -> None:
    """A list of keys gets names by position."""
    keys = ["ssh-ed25519 A one", "ssh-rsa B two"]
    assert decode_instance(with_field("public_keys", keys)).public_keys == (
        PublicKey("key-0", keys[0]),
        PublicKey("key-1", keys[1]),
    )


def test_user_data_as_text_or_base64() -> None:
    """Both forms give bytes; base64 may be folded; an empty text is not "none"."""
    assert decode_instance(with_field("user_data", "é")).user_data == "é".encode()
    folded = with_field("user_data_base64", "aGVs\nbG8=\n")
    assert decode_instance(folded).user_data == b"hello"
    assert decode_instance(with_field("user_data", "")).user_data == b""


def test_image_gives_an_ami() -> None:
    """An image id without ami_id is shown as a derived AMI, and null stays unset."""
    derived = decode_instance(with_field("image_id", "cirros")).ec2.image
    assert derived is not None
    assert derived.startswith("ami-")
    assert decode_instance({**SMALLEST, "ami_id": None}).ec2.image is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("uuid", "nope", "instance.uuid: got 'nope', allowed is a UUID with dashes"),
        ("uuid", UUID.replace("-", ""), "a UUID with dashes"),
        ("uuid", 5, "instance.uuid: got 5, allowed is a text"),
        ("tenant_id", "", "instance.tenant_id: got an empty text"),
        ("tenant_id", "a ", "got 'a ', allowed is a project's id in printable ASCII"),
        ("tenant_id", "é", "allowed is a project's id in printable ASCII"),
        ("tenant_id", "a" * 256, "got 256 characters"),
        ("name", "", "instance.name: got an empty text, allowed are 1 to 255"),
        ("name", "a\nb", "got a control character"),
        ("name", "x" * 256, "got 256 characters, allowed are 255"),
        ("hostname", "a b", "got 'a b', allowed is labels of 1 to 63 letters, digits"),
        ("hostname", "-a", "not starting with '-'"),
        ("hostname", "a..b", "got 'a..b', allowed is labels"),
        ("hostname", ".a", "got '.a', allowed is labels"),
        ("hostname", ".", "got '.', allowed is labels"),
        ("hostname", "a" * 70, "labels of 1 to 63"),
        ("hostname", "a." * 128, "got 256 characters, allowed are 255"),
        ("domain", "a b", "allowed is an empty text, or labels"),
        ("domain", "d." * 128, "255 characters in all"),
        ("launch_index", -1, "0 to 2147483647"),
        ("launch_index", 2**31, "0 to 2147483647"),
        ("launch_index", True, "got true or false, allowed is a whole number"),
        ("availability_zone", 1, "allowed is a text"),
        ("security_groups", "default", "allowed is a list"),
        ("availability_zone", "a\nb", "got a control character"),
        ("security_groups", ["a", 5], "security_groups[1]: got 5, allowed is a text"),
        ("fixed_addresses", ["10.0.0.256"], "an IPv4 or IPv6 address"),
        ("floating_addresses", ["::1"], "allowed is an IPv4 address"),
        ("block_devices", {"a": 1}, "block_devices['a']: got 1, allowed is a text"),
        ("block_devices", ["vda"], "allowed is an object"),
        ("block_devices", {"a/b": "vda"}, "got name 'a/b', allowed are letters"),
        ("block_devices", {"..": "vda"}, "got name '..', allowed are letters"),
        ("block_devices", {"0=x": "vda"}, "got name '0=x', allowed are letters"),
        ("files", ["a"], "files[0]: got 'a', allowed is an object"),
        ("files", [{"content": ""}], "files[0].path: is missing"),
        (
            "files",
            [{"path": "/a"}],
            "files[0].content: got nothing, allowed is content",
        ),
        ("files", [{"path": "/a", "content_base64": "?"}], "content_base64: got some"),
        (
            "files",
            [{"path": "/a", "content": "", "content_base64": ""}],
            "files[0].content: got content_base64 too, allowed is one of the two",
        ),
        ("files", [{"path": "/a", "content": "", "x": 1}], "unknown field 'x'"),
        ("files", [{"path": "/" * 4097, "content": ""}], "got 4097 characters"),
        ("dedicated_cpus", ["0"], "dedicated_cpus[0]: got '0', allowed is 0 to 65535"),
        ("dedicated_cpus", [65_536], "allowed is 0 to 65535"),
        ("dedicated_cpus", [True], "allowed is 0 to 65535"),
        ("public_keys", "ssh-rsa A", "allowed is an object"),
        ("meta", {"a": 1}, "meta['a']: got 1, allowed is a text"),
        ("meta", {"a" * 256: ""}, "got 256 characters"),
        ("meta", {"a": "b" * 256}, "got 256 characters"),
        ("user_data", 5, "instance.user_data: got 5, allowed is a text"),
        ("user_data_base64", "?", "allowed is base64"),
        ("user_data_base64", "abc", "allowed is base64"),
        ("network_data", [], "got a list, allowed is an object"),
        ("network_config", {}, "got an object, allowed is a text"),
        ("devices", ["nic"], "devices[0]: got 'nic', allowed is an object"),
        ("ec2_instance_id", "i 1", "one ASCII word"),
        ("ec2_instance_id", None, "allowed is a text"),
        ("ami_id", "é", "one ASCII word, or null"),
        ("image_id", 10**70, "got a huge number"),
        ("image_id", 1.5, "got a number"),
        (
            "nmae",
            "x",
            "unknown field 'nmae'; nearest known name: name; allowed are ami_id",
        ),
        ("bogus", "x", "instance: unknown field 'bogus'; allowed are ami_id"),
        ("meta", {"a": "\ud800"}, "got no plain JSON (UnicodeEncodeError)"),
        ("network_data", {"a": float("nan")}, "got no plain JSON (ValueError)"),
        ("network_data", {"a": b"x"}, "got no plain JSON (TypeError)"),
    ],
)
def test_refusals(name: str, value: object, expected: str) -> None:
    """Each wrong field is named, with what was found and what is allowed."""
    with pytest.raises(WireError) as refusal:
        check_instance(with_field(name, value))
    assert expected in str(refusal.value)


@pytest.mark.parametrize("name", ["uuid", "tenant_id"])
def test_required(name: str) -> None:
    """Neither id may be left out."""
    raw = {key: value for key, value in SMALLEST.items() if key != name}
    with pytest.raises(WireError, match=rf"instance\.{name}: is missing"):
        check_instance(raw)


def test_not_an_object() -> None:
    """A list is no instance."""
    with pytest.raises(WireError, match="instance: got a list"):
        decode_instance([])  # type: ignore[arg-type]  # that is the point


def test_both_user_data() -> None:
    """Text and base64 exclude each other."""
    with pytest.raises(WireError, match="one of the two"):
        check_instance({**SMALLEST, "user_data": "", "user_data_base64": ""})


def test_deep_nesting_is_refused_not_a_crash() -> None:
    """A tree deeper than Python can write is a WireError."""
    tree: dict[str, Any] = {}
    for _ in range(100_000):
        tree = {"a": tree}
    try:
        with pytest.raises(WireError, match="RecursionError"):
            check_instance(with_field("network_data", tree))
    finally:
        while tree:
            tree = tree.pop("a")


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_user_data_ceiling(over: int) -> None:
    """65,535 decoded bytes are the most, in either form."""
    size = members.MAX_USER_DATA + over
    forms = (
        with_field("user_data", "x" * size),
        with_field("user_data_base64", base64.b64encode(bytes(size)).decode()),
    )
    for raw in forms:
        if over > 0:
            with pytest.raises(WireError, match="65536 bytes"):
                check_instance(raw)
        else:
            check_instance(raw)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_document_ceiling(over: int) -> None:
    """The whole document counts as the store will keep it: compact ASCII JSON."""
    raw = with_field("network_config", "")
    room = codec.MAX_DOCUMENT - len(json.dumps(raw, separators=(",", ":")))
    raw["network_config"] = "x" * (room + over)
    if over > 0:
        with pytest.raises(WireError, match=f"got {codec.MAX_DOCUMENT + 1} bytes"):
            check_instance(raw)
    else:
        check_instance(raw)


@pytest.mark.parametrize(
    ("name", "item", "most"),
    [
        ("security_groups", "a", codec.MAX_LIST),
        ("fixed_addresses", "10.0.0.1", codec.MAX_LIST),
        ("devices", {}, codec.MAX_LIST),
        ("public_keys", "ssh-rsa A", public_keys.MAX_KEYS),
        ("files", {"path": "/a", "content": ""}, members.MAX_FILES),
    ],
)
def test_list_ceilings(name: str, item: object, most: int) -> None:
    """Lists take as many items as they say, and not one more."""
    check_instance(with_field(name, [item] * (most - 1)))
    check_instance(with_field(name, [item] * most))
    with pytest.raises(WireError, match=f"got {most + 1} items"):
        check_instance(with_field(name, [item] * (most + 1)))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("meta", codec.MAX_META),
        ("public_keys", public_keys.MAX_KEYS),
        ("block_devices", members.MAX_BLOCK_DEVICES),
    ],
)
def test_object_ceilings(name: str, most: int) -> None:
    """Objects take as many members as they say, and not one more."""
    check_instance(with_field(name, {str(n): "x" for n in range(most)}))
    with pytest.raises(WireError, match=f"got {most + 1} members"):
        check_instance(with_field(name, {str(n): "x" for n in range(most + 1)}))


def test_bodies_do_not_show() -> None:
    """Neither repr nor a refusal shows user data or metadata."""
    raw = {**FULL, "meta": {"token": "hunter2"}}
    assert "hunter2" not in repr(decode_instance(raw))
    with pytest.raises(WireError) as refusal:
        check_instance({**SMALLEST, "user_data": ["hunter2"]})
    assert "hunter2" not in str(refusal.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def complaint(raw: dict[str, Any]) -> str:
    try:
        check_instance(raw)
    except WireError as error:
        return str(error)
    return "instance is fine"


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON))
def test_any_document_is_taken_or_refused(raw: dict[str, Any]) -> None:
    """Whatever JSON comes: an instance, or a WireError, nothing else."""
    assert complaint({**SMALLEST, **raw}).startswith("instance")


def test_documented_example_is_valid() -> None:
    """The example of docs/instances.md can be added; the page names every field."""
    page = Path(__file__).parents[4] / "docs" / "instances.md"
    text = page.read_text()
    example = text.split("```json\n")[1].split("```")[0]
    check_instance(json.loads(example))
    for field in (*FULL, "user_data"):
        assert f"`{field}`" in text, field
