"""Promises of the grammar: what may stand where, and what one value may look like."""

from __future__ import annotations

import pytest
from lxml import etree

from vagent.config.findings import Findings
from vagent.config.grammar import Declared, ElementKind, load_grammar
from vagent.config.section import Section
from vagent.config.structure import MAX_VALUE, read_structure
from vagent.errors import ConfigError


def structure(text: str) -> tuple[Section, list[str]]:
    """The section that is left, and `path: what` of each problem."""
    findings = Findings("f")
    section = read_structure(etree.fromstring(text), load_grammar(), findings)
    try:
        findings.raise_if_refused()
    except ConfigError as error:
        return section, [f"{each.path}: {each.what}" for each in error.problems]
    return section, []


def refusals(text: str) -> list[str]:
    return structure(text)[1]


PORTS = (
    ["1", "65535", "080"],
    ["0", "65536", "-1", "+1", "1.0", "x", "", "٣", "0" * 6],
)
TEXTS_OF = {
    "metadata-proxy/port": PORTS,
    "port-api/port": PORTS,
    "metadata-server/port": PORTS,
    "metadata-proxy/max-guest-connections": (["1", "65535"], ["0", "65536"]),
    "metadata-proxy/use-ssl": (["true", "false", "1", "0"], ["yes", "True", ""]),
    "metadata-proxy/client-cert": (["", "/a b"], ["a", "./a", "/" + "a" * 1024]),
    "metadata-proxy/connect-timeout": (
        ["0.1", "60", "60.000", "4"],
        ["0", "0.099", "60.001", "-4", "1e1", ".5", "NaN", "0.1000", ""],
    ),
    "metadata-proxy/response-timeout": (["0.1", "600"], ["0", "600.001", "INF"]),
    "metadata-proxy/hold-time": (["0", "0.001", "60"], ["60.001", "-1", ""]),
    "metadata-proxy/upstream-tls": (["", "/a b"], ["a", "/" + "a" * 1024]),
    "metadata-proxy/probe-interval": (["0", "3600"], ["3601", "-1", "1.5", ""]),
    "metadata-proxy/refuse-beyond-hop-limit": (["true", "false"], ["yes", ""]),
    "metadata-proxy/cache-ttl": (["0", "15", "3600"], ["3600.001", "-1", ""]),
    "metadata-proxy/session-tokens": (
        ["off", "optional", "required", "required-ec2", "audit"],
        ["", "on", "Off"],
    ),
    "metadata-proxy/hop-limit": (["1", "64"], ["0", "65", "-1"]),
    "metadata-proxy/guest-request-rate": (
        ["0", "0.5", "1000000"],
        ["-1", "1000000.001", ""],
    ),
    "metadata-proxy/guest-request-burst": (["1", "1000000"], ["0", "1000001"]),
    "metadata-proxy/max-guest-requests": (["1", "1000000"], ["0", "1000001"]),
    "linklocal-flows/max-system-flows": (["1", "1000000"], ["0", "1000001"]),
    "linklocal-flows/max-vm-flows": (["1", "1000000"], ["0", "1000001"]),
    "linklocal-flows/max-vm-new-flows": (["1", "1000000"], ["0", "1000001"]),
    "endpoint-check/services": (["", "*", "dns ntp"], ["a" * 4097]),
    "endpoint-check/interval": (["0.5", "3600"], ["0.499", "3600.1", ""]),
    "endpoint-check/timeout": (["0.1", "60"], ["0.09", "60.1", ""]),
    "endpoint-check/rise": (["1", "100"], ["0", "101", "-1"]),
    "endpoint-check/fall": (["1", "100"], ["0", "101", "-1"]),
    "data-path/name": (
        ["v", "a" * 14, "a_1"],
        ["a" * 15, "A", "1a", "_a", "a-b", "a b", "é", ""],
    ),
    "data-path/namespace": (
        ["", "v", "a" * 64, "Az09_-", "-"],
        ["a" * 65, "a/b", ".", "..", "a.b", "a b", "é"],
    ),
    "data-path/uplink": (
        ["169.254.0.0/31", "10.0.0.0/8"],
        ["169.254.0.0", "10.0.0.0/33", "010.0.0.0/31", "fd00::/127", ""],
    ),
    "data-path/identity-range": (
        ["169.254.64.0/18", "0.0.0.0/0", "255.255.255.255/32"],
        [
            "169.254.64.0",
            "256.0.0.0/8",
            "10.0.0.0/33",
            "10.0.0/8",
            "010.0.0.0/8",
            "::/8",
        ],
    ),
    "data-path/queue-number": (["0", "65535"], ["-1", "65536"]),
    "data-path/queue-length": (["1", "65536"], ["0", "65537"]),
    "data-path/host-to-guest": (["true", "0"], ["", "on"]),
    "data-path/when-stopped": (["guard", "remove"], ["", "keep", "GUARD"]),
    "data-path/tap-priority": (["first", "last"], ["", "middle", "First", "1"]),
    "libvirt/enabled": (["auto", "true", "false"], ["", "yes", "1"]),
    "libvirt/uri": (
        ["qemu:///system", "test:///default", "qemu:///system?socket=/run/x"],
        ["", "qemu", "/run/libvirt", "qemu:///a b", "qemu:///" + "x" * 1017],
    ),
    "libvirt/nova-domains": (["leave", "serve"], ["", "true", "Serve"]),
    "introspect/address": (
        ["0.0.0.0", "127.0.0.1", "255.255.255.255"],
        ["256.0.0.1", "127.1", "localhost", "::1", "127.0.0.01", ""],
    ),
}
CASES = [(path, *texts) for path, texts in TEXTS_OF.items()]


@pytest.mark.parametrize(
    ("path", "good", "bad"), CASES, ids=[case[0] for case in CASES]
)
def test_values(path: str, good: list[str], bad: list[str]) -> None:
    """Each value is let through up to its limits and refused beyond them."""
    section, leaf = path.split("/")
    for text in good:
        assert refusals(document(section, leaf, text)) == [], text
    for text in bad:
        (told,) = refusals(document(section, leaf, text))
        assert told.startswith(f"/agent/{path}: got "), text
        assert "; allowed: " in told


def document(section: str, leaf: str, text: str) -> str:
    return f"<agent><{section}><{leaf}>{text}</{leaf}></{section}></agent>"


def test_top_values() -> None:
    """The elements without a section are checked as well."""
    text = (
        "<agent><log-level>loud</log-level><state-directory>x</state-directory></agent>"
    )
    assert refusals(text) == [
        "/agent/log-level: got 'loud'; allowed: debug, info, warn or error",
        "/agent/state-directory: got 'x'; "
        "allowed: an absolute path of at most 1024 characters",
    ]


def test_blanks_around_values_do_not_count() -> None:
    """Blanks and newlines are taken away before the schema and before the reader."""
    text = "<agent><introspect><port>\n\t 80 \r\n</port></introspect></agent>"
    section, told = structure(text)
    assert told == []
    assert section.section("introspect").values["port"].text == "80"


def test_the_length_of_a_value_is_bounded() -> None:
    """A value at the ceiling is let through, one character more is not, nor shown."""
    at = document("metadata-proxy", "shared-secret", "x" * MAX_VALUE)
    assert refusals(at) == []
    above = document("metadata-proxy", "shared-secret", "x" * (MAX_VALUE + 1))
    assert [
        "/agent/metadata-proxy/shared-secret: "
        f"got {MAX_VALUE + 1} characters; allowed: {MAX_VALUE}"
    ] == refusals(above)


def test_a_long_value_is_shown_short() -> None:
    """A message stays one short line whatever the value."""
    (told,) = refusals(document("data-path", "name", "a\n\x85" * 600))
    assert "\n" not in told
    assert len(told) < 250


def test_unknown_root() -> None:
    """Any other root ends the reading; nothing in it can be meant."""
    with pytest.raises(ConfigError, match="root element <agnt>; allowed: <config>"):
        structure("<agnt><nonsense/></agnt>")
    with pytest.raises(ConfigError, match=r"root element <\{urn:x}agent>"):
        structure('<agent xmlns="urn:x"/>')


def test_config_holds_one_agent() -> None:
    """No agent, two agents and anything else are refused, a mistake a line."""
    assert refusals("<config/>") == [
        "/config: got no <agent> in <config>; allowed: exactly one"
    ]
    assert refusals("<config><agent/><agent/></config>") == [
        "/config/agent[2]: given again; allowed: once (first given in line 1)"
    ]
    assert refusals("<config><agnt/></config>") == [
        "/config/agnt: unknown element <agnt>; nearest known name: <agent>; "
        "allowed in <config>: agent"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<agent><metadata-prox/></agent>", "<metadata-proxy>"),
        ("<agent><xmpp-sever/></agent>", "<xmpp-server>"),
        ("<agent><data-path><nmae/></data-path></agent>", "<name>"),
        ("<agent><data-path><name><nam/>a</name></data-path></agent>", "<name>"),
        (
            "<agent><linklocal-flows><max-vms/></linklocal-flows></agent>",
            "<max-vm-flows>",
        ),
        ("<agent><zzz/></agent>", "<"),
    ],
)
def test_unknown_elements(text: str, expected: str) -> None:
    """An unknown element at any level is an error that names the nearest known one."""
    (told,) = refusals(text)
    assert "unknown element <" in told
    assert f"nearest known name: {expected}" in told


def test_an_element_in_the_wrong_place() -> None:
    """A name that is known elsewhere is told with the places where it is."""
    (told,) = refusals("<agent><shared-secret>x</shared-secret></agent>")
    assert told.endswith(
        "unknown element <shared-secret> in <agent>; it is known as "
        "agent/metadata-proxy/shared-secret and agent/metadata-server/shared-secret"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<agent prot="1"/>', "nearest known name: the element <port-api> in it"),
        (
            '<agent><port-api prot="1"/></agent>',
            "nearest known name: the element <port> in it",
        ),
        (
            '<agent><metadata-proxy><shared-secret fil="a"/></metadata-proxy></agent>',
            "nearest known name: file",
        ),
        (
            '<agent><port-api><port file="a">1</port></port-api></agent>',
            "<port> has no attributes (only shared-secret has: file)",
        ),
        ('<config a="1"><agent/></config>', "nearest known name: the element <agent>"),
    ],
)
def test_unknown_attributes(text: str, expected: str) -> None:
    """An unknown attribute at any level is an error that names what is near."""
    (told,) = refusals(text)
    assert "/@" in told
    assert expected in told


def test_schema_instance_attributes_never_reach_the_validator() -> None:
    """xsi:type, xsi:nil and schema locations are unknown attributes, without effect."""
    text = """<agent xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
        xsi:noNamespaceSchemaLocation="/etc/passwd">
        <data-path xsi:type="legacy"><name xsi:nil="true">X</name></data-path>
        </agent>"""
    told = refusals(text)
    assert sum("unknown attribute" in each for each in told) == 3
    assert any("/agent/data-path/name: got 'X'" in each for each in told)


def test_repeated_elements() -> None:
    """The second and third of an element are errors that point at the first."""
    text = (
        "<agent>\n<introspect><port>1</port><port>2</port><port>3</port></introspect>"
        "<introspect/></agent>"
    )
    section, told = structure(text)
    again = "given again; allowed: once (first given in line 2)"
    assert [
        f"/agent/introspect/port[2]: {again}",
        f"/agent/introspect/port[3]: {again}",
        f"/agent/introspect[2]: {again}",
    ] == told
    assert section.section("introspect").values["port"].text == "1"


def test_text_between_elements() -> None:
    """Text where elements belong is an error, before, between, after, and not shown."""
    for text in (
        "<agent>s3cr3t<data-path/></agent>",
        "<agent><data-path/>s3cr3t<introspect/></agent>",
        "<agent><unknown/>s3cr3t</agent>",
    ):
        told = refusals(text)
        assert "/agent: text between elements; allowed: elements only" in told
        assert "s3cr3t" not in "".join(told)


def test_a_refused_value_counts_as_absent() -> None:
    """The reader of meanings sees the value as not there, and that it was refused."""
    section, told = structure("<agent><introspect><port>x</port></introspect></agent>")
    introspect = section.section("introspect")
    assert len(told) == 1
    assert introspect.values == {}
    assert not introspect.sound("address", "port")
    assert introspect.sound("address")
    assert introspect.value("port", int, 7) == 7


def test_an_absent_section_is_an_empty_one() -> None:
    """Rules can ask for any section; its place is the element it would stand in."""
    section, _ = structure("\n<agent/>")
    absent = section.section("introspect")
    assert (absent.place.line, absent.place.path) == (2, "/agent/introspect")
    assert absent.place_of("port").path == "/agent/introspect/port"


def test_a_value_hides_its_text() -> None:
    """A value may be a secret, so its repr does not show it."""
    text = document("metadata-proxy", "shared-secret", "s3cr3t")
    assert "s3cr3t" not in repr(structure(text)[0])


def every(declared: Declared) -> list[Declared]:
    inner = [each for child in declared.children.values() for each in every(child)]
    return [declared, *inner]


def test_every_value_type_says_what_is_allowed() -> None:
    """Each type in agent.xsd has the sentence that an operator reads."""
    for each in every(load_grammar().roots["config"]):
        if each.kind is ElementKind.VALUE and each.name != "shared-secret":
            assert each.allowed != "text", each.name


def test_the_schema_alone_takes_legacy_elements() -> None:
    """agent.xsd can be used with other tools: Contrail's file is valid by it."""
    text = '<agent><vhost a="1">x<y z="1"/></vhost><gateway/><gateway/></agent>'
    assert load_grammar().schema.validate(etree.fromstring(text))
