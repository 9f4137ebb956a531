"""Promises of the addresses for metadata."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from vagent.config.metadata_address import METADATA_ADDRESS, METADATA_ADDRESSES6

ROOT = Path(__file__).resolve().parents[4]
HOME = "vagent/config/metadata_address.py"


def test_the_addresses_that_clients_have_built_in() -> None:
    """cloud-init, botocore and Neutron ask nowhere else."""
    assert "169.254.169.254" == str(METADATA_ADDRESS)
    assert ["fe80::a9fe:a9fe", "fd00:ec2::254"] == [str(a) for a in METADATA_ADDRESSES6]


def test_nothing_else_names_them() -> None:
    """The product has one place for them, messages included."""
    texts = [str(address) for address in (METADATA_ADDRESS, *METADATA_ADDRESSES6)]
    found = {
        str(file.relative_to(ROOT))
        for room in ("vagent", "introspect", "provision")
        for file in (ROOT / room).rglob("*.py")
        for value in _texts(ast.parse(file.read_text()))
        if any(text in value for text in texts)
    }
    assert {HOME} == found


def _texts(tree: ast.Module) -> Iterator[str]:
    """Every text of a module but those that stand for themselves (docstrings)."""
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)
