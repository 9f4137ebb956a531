"""Promises of host names, and of those in agent.conf."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagent.config.host_names import canonical, is_host_name
from vagent.config.read import read_config
from vagent.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "compute-7",
        "7compute",
        "api.example.net",
        "API.example.net.",
        "10.0.0.x1",
        "a" * 63 + ".b",
        ".".join(["a" * 63] * 3 + ["a" * 61]) + ".",
        "xn--bcher-kva.example",
    ],
)
def test_host_names(name: str) -> None:
    """Letters, digits and dashes in labels, with or without the final dot."""
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a..",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a:80",
        "bücher.example",
        "*",
        "*.example.net",
        "a" * 64,
        ".".join(["a" * 63] * 3 + ["a" * 62]),
    ],
)
def test_texts_that_are_no_host_name(name: str) -> None:
    """Nothing else; a name has at most 253 characters, a label 63."""
    assert not is_host_name(name)


@pytest.mark.parametrize("name", ["10.0.0.5", "127.1", "2130706433", "a.1", "1."])
def test_what_a_url_takes_for_an_address_is_no_name(name: str) -> None:
    """A last label of digits makes it an address, and addresses are not named."""
    assert not is_host_name(name)


def test_one_spelling() -> None:
    """Case and the final dot do not count."""
    assert canonical("API.Example.net.") == canonical("api.example.net")


def test_each_wrong_name_is_one_problem(tmp_path: Path) -> None:
    """Where, what, got, allowed; the good names beside it are not mentioned."""
    path = tmp_path / "agent.conf"
    names = "api.example.net foo_bar\n10.0.0.5"
    path.write_text(
        f"<agent><operator-host-names>{names}</operator-host-names></agent>"
    )
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    where = f"{path}:1: /agent/operator-host-names: got "
    allowed = (
        "; allowed: host names with blanks between them: letters, digits and dashes in"
        " labels of at most 63 characters, 253 in all; addresses need not be named"
    )
    assert [
        f"{where}'foo_bar'{allowed}",
        f"{where}'10.0.0.5'{allowed}",
    ] == str(caught.value).splitlines()


@pytest.mark.parametrize(("length", "is_good"), [(4096, True), (4097, False)])
def test_the_list_has_a_ceiling(tmp_path: Path, length: int, is_good: bool) -> None:
    """4096 characters."""
    path = tmp_path / "agent.conf"
    names = ("a " * 4096)[: length - 1] + "a"
    path.write_text(
        f"<agent><operator-host-names>{names}</operator-host-names></agent>"
    )
    if is_good:
        assert ("a",) == read_config(path).config.operator_host_names[:1]
    else:
        with pytest.raises(ConfigError, match="4097 characters"):
            read_config(path)
