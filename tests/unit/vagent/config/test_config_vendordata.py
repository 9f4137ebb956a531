"""Promises on `<vendordata>`: targets as nova.conf names them, deadlines, TLS files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.config.model import FailureMode, VendorDataConfig, VendorDataTarget
from vagent.config.read import read_config
from vagent.config.vendordata import MAX_TARGETS, is_exposed
from vagent.errors import ConfigError


class Load(Protocol):
    def __call__(
        self, content: str, server: str = ...
    ) -> tuple[VendorDataConfig, list[str]]: ...


SECRET = "<metadata-proxy><shared-secret>x</shared-secret></metadata-proxy>"
ENABLED = "<metadata-server><enabled>true</enabled></metadata-server>"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read the content of `<vendordata>`; the configuration and what was warned of."""

    def read(content: str, server: str = ENABLED) -> tuple[VendorDataConfig, list[str]]:
        path = tmp_path / "agent.conf"
        path.touch(0o600)
        path.write_text(
            f"<agent>{SECRET}{server}<vendordata>{content}</vendordata></agent>"
        )
        loaded = read_config(path)
        return loaded.config.vendordata, [_line(each) for each in loaded.warnings]

    return read


def _line(problem: object) -> str:
    return str(problem).partition("/agent/")[2]


def targets(text: str) -> str:
    return f"<dynamic-targets>{text}</dynamic-targets>"


def refusals(load: Load, content: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(content)
    return [_line(each).removeprefix("vendordata/") for each in caught.value.problems]


def test_nothing_is_the_default(load: Load) -> None:
    """Without elements there is neither static data nor a target."""
    assert (VendorDataConfig(), []) == load("")


def test_targets_as_in_nova_conf(load: Load) -> None:
    """Commas or blanks between them, split at the first @, in their order."""
    config, _ = load(
        targets(
            "join@https://novajoin:9090/v1/,\n b@http://10.0.0.5/a?x=@ c@http://[::1]"
        )
    )
    assert (
        VendorDataTarget("join", "https://novajoin:9090/v1/"),
        VendorDataTarget("b", "http://10.0.0.5/a?x=@"),
        VendorDataTarget("c", "http://[::1]"),
    ) == config.targets
    assert [True, False, False] == [each.uses_tls for each in config.targets]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://10.0.0.5/", "allowed: name@url"),
        ("@http://10.0.0.5/", "allowed: name@url"),
        ("a" * 65 + "@http://10.0.0.5/", "1 to 64"),
        ("ä@http://10.0.0.5/", "ASCII"),
        ("static@http://10.0.0.5/", "static data"),
        ("a@ftp://10.0.0.5/", "allowed: http://"),
        ("a@10.0.0.5", "allowed: http://"),
        ("a@http://", "allowed: http://"),
        ("a@http://h:0/", "allowed: http://"),
        ("a@http://h:99999/", "allowed: http://"),
        ("a@http://[::1/", "allowed: http://"),
        ("a@http://me:pw@h/", "a user or password"),
        ("a@http://h/#x", "a fragment"),
        ("a@http://h/ä", "printable ASCII"),
    ],
)
def test_targets_that_are_refused(load: Load, text: str, said: str) -> None:
    """What Nova skips, or what could not work, is an error that says what may be."""
    (line,) = refusals(load, targets(text))
    assert line.startswith("dynamic-targets: ")
    assert said in line


def test_two_of_one_name(load: Load) -> None:
    """Nova takes the first and warns; nobody wants that."""
    assert ["dynamic-targets: the name 'a' is given twice"] == refusals(
        load, targets("a@http://h/1 a@http://h/2")
    )


def test_a_ceiling_on_targets(load: Load) -> None:
    """32 are allowed, one more is not."""
    many = [f"t{number}@http://h/" for number in range(MAX_TARGETS + 1)]
    assert MAX_TARGETS == len(load(targets(" ".join(many[:-1])))[0].targets)
    assert ["dynamic-targets: got 33 targets; allowed: 32"] == refusals(
        load, targets(" ".join(many))
    )


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """No text of a target is more than a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.conf"
    kept = "".join(one for one in text if one.isprintable() and one not in "<&>")
    path.write_text(
        f"<agent>{SECRET}{ENABLED}<vendordata>{targets('a@http:' + kept)}"
        "</vendordata></agent>"
    )
    with suppress(ConfigError):
        read_config(path)


def test_every_value(load: Load, tmp_path: Path) -> None:
    """Each element gets where it belongs."""
    for name in "abcd":
        (tmp_path / name).touch(0o600)
    config, warned = load(
        f"<static-file>{tmp_path}/a</static-file><failure-mode>hard</failure-mode>"
        "<connect-timeout>1</connect-timeout><read-timeout>2</read-timeout>"
        "<timeout>4.5</timeout><cache-time>60</cache-time>"
        "<failure-cache-time>0</failure-cache-time>"
        f"<ca-cert>{tmp_path}/b</ca-cert><client-cert>{tmp_path}/c</client-cert>"
        f"<client-key>{tmp_path}/d</client-key><target-tls>/tls</target-tls>"
    )
    assert [] == warned
    assert config == VendorDataConfig(
        static_file=tmp_path / "a",
        failure_mode=FailureMode.HARD,
        connect_timeout=1,
        read_timeout=2,
        timeout=4.5,
        cache_time=60,
        failure_cache_time=0,
        ca_cert=tmp_path / "b",
        client_cert=tmp_path / "c",
        client_key=tmp_path / "d",
        target_tls=Path("/tls"),
    )


def test_parts_of_the_timeout(load: Load) -> None:
    """Left out they are lowered to the whole; given, they may not exceed it."""
    config, _ = load("<timeout>1</timeout>")
    assert (1, 1) == (config.connect_timeout, config.read_timeout)
    assert ["read-timeout: got 2; allowed: at most timeout, which is 1"] == refusals(
        load, "<timeout>1</timeout><read-timeout>2</read-timeout>"
    )


def test_a_certificate_without_its_key(load: Load, tmp_path: Path) -> None:
    """Both or neither, and the message says why."""
    (tmp_path / "c").touch()
    (line,) = refusals(load, f"<client-cert>{tmp_path}/c</client-cert>")
    assert line == (
        "client-key: no file is named; needed because client-cert is given, and a"
        " certificate needs its key"
    )


@pytest.mark.parametrize("name", ["static-file", "ca-cert"])
def test_files_that_are_not_there(load: Load, name: str) -> None:
    """A named file that cannot be read is an error before the agent starts."""
    (line,) = refusals(load, f"<{name}>/nowhere</{name}>")
    assert f"{name}: cannot read '/nowhere': No such file or directory" == line


def test_without_the_server_it_is_not_used(load: Load) -> None:
    """Nothing is read or checked, and the operator is told."""
    config, warned = load(
        "<static-file>/nowhere</static-file>" + targets("a@http://h/"),
        server="",
    )
    assert VendorDataConfig() == config
    assert [
        "vendordata/static-file: metadata-server is not enabled, so this is not used"
    ] == warned


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("https://example.com/", False),
        ("http://localhost:9090/", False),
        ("http://127.0.0.2/", False),
        ("http://[::1]/", False),
        ("http://10.0.0.5/", True),
        ("http://novajoin/", True),
    ],
)
def test_what_crosses_a_network_in_the_clear(url: str, exposed: bool) -> None:
    """Loopback and TLS do not."""
    assert exposed == is_exposed(url)
