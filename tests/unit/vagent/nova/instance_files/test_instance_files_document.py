"""One file is one instance, or an error with line and column."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.nova.codec import decode_instance
from vagent.nova.instance_files.document import (
    likely_uuid,
    read_instance,
    read_value,
)
from vagent.nova.instance_files.yaml_text import DocumentError

UUID = "1a2b3c00-0000-4000-8000-000000000003"
DOCUMENT: dict[str, Any] = {
    "uuid": UUID,
    "tenant_id": "7e000000000040008000000000000001",
    "name": "Web ☃",
    "user_data": "#cloud-config\n",
}
YAML = f"""# the web server
uuid: {UUID}
tenant_id: 7e000000000040008000000000000001
name: Web ☃
user_data: |
  #cloud-config
"""
HEAD = f"uuid: {UUID}\ntenant_id: a\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(DOCUMENT)),
        ("a.json", json.dumps(DOCUMENT, indent="\t")),
        ("a.json", "\ufeff" + json.dumps(DOCUMENT, ensure_ascii=False)),
        ("a.yaml", YAML),
        ("a.yml", json.dumps(DOCUMENT)),
    ],
)
def test_the_same_in_each_form(name: str, text: str) -> None:
    """YAML and JSON of the same document are the same instance."""
    assert decode_instance(DOCUMENT) == read_instance(name, text.encode())
    assert DOCUMENT == read_value(name, text.encode())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD + "nmae: x", "line 3, column 1: instance: unknown field 'nmae'"),
        (HEAD + "launch_index: -1", "line 3, column 15: instance.launch_index: got -1"),
        (HEAD + "meta:\n  a b: 5", "line 4, column 8: instance.meta['a b']: got 5"),
        (
            HEAD + "files:\n- {path: /a, content: x}\n- content: x",
            "line 5, column 3: instance.files[1]",
        ),
        (HEAD + "files: [{path: /a, content: x, z: 1}]", "line 3, column 32: instance"),
        (
            HEAD + "block_devices: {a: b, ../x: y}",
            "line 3, column 23: instance.block_d",
        ),
        (HEAD + "fixed_addresses: [10.0.0.1, x]", "line 3, column 29: instance.fixed"),
        ("uuid: 5", "line 1, column 7: instance.uuid: got 5"),
        (
            "# nothing\nuuid: " + UUID,
            "line 2, column 1: instance.tenant_id: is missing",
        ),
        ("- a", "line 1, column 1: instance: got a list"),
        ("word", "line 1, column 1: instance: got 'word'"),
        (
            HEAD + "public_keys: {a: {data: x, type: pgp}}",
            "line 3, column 34: instance.p",
        ),
    ],
)
def test_the_place_of_a_wrong_field(text: str, problem: str) -> None:
    """As near to it as can be told."""
    with pytest.raises(DocumentError) as refusal:
        read_instance("a.yaml", text.encode())
    assert str(refusal.value).startswith(problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"uuid": 1, x}', "line 1, column 13: not JSON: "),
        (b'{\n\t"uuid": 5}', "line 2, column 10: instance.uuid: got 5"),
        (b'{\n "a": 1,\n "a": 2}', "line 3, column 2: the name 'a' is given twice"),
        (b'{"a": "\xff"}', "line 1, column 8: not UTF-8"),
        (b"", "line 1, column 1: not JSON: "),
        (b"[" * 100_000, "line 1, column 1: not JSON: RecursionError"),
        (b'{"a": "\\ud800", "a": 1}', "line 1, column 17: the name 'a' is given twice"),
        (
            b'{"uuid": "\\ud83d\\ude00\x7f",\n "tenant_id": 5}',
            "line 1, column 10: instance.uuid: got",
        ),
        (b'{"a": NaN}', "line 1, column 1: instance: got no plain JSON (ValueError)"),
    ],
)
def test_the_place_in_json(content: bytes, problem: str) -> None:
    """JSON as well, and tabs count as one column."""
    with pytest.raises(DocumentError) as refusal:
        read_instance("a.json", content)
    assert str(refusal.value).startswith(problem)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n\t", " :\n")])
def test_json_is_written_in_many_ways(separators: tuple[str, str]) -> None:
    """The place is found in each; a name that YAML does not take costs it."""
    text = json.dumps({**DOCUMENT, "launch_index": -1}, separators=separators)
    with pytest.raises(DocumentError, match=r"line \d+, column \d+: instance\.launch"):
        read_instance("a.json", text.encode())
    text = json.dumps({**DOCUMENT, "x" * 2000: 1}, separators=separators)
    with pytest.raises(DocumentError, match=r"^instance: unknown field 'xxx"):
        read_instance("a.json", text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.sampled_from(["a.json", "a.yaml"]),
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["files", "meta", "public_keys", "block_devices", "name"]), JSON
    ).map(lambda more: json.dumps({**DOCUMENT, **more}).encode()),
)
def test_no_content_raises_anything_else(name: str, content: bytes) -> None:
    """Whatever a file holds, the refusal is ours, and looking for its UUID is safe."""
    likely_uuid(name, content)
    with suppress(DocumentError):
        read_instance(name, content)


@pytest.mark.parametrize(
    ("name", "content", "uuid"),
    [
        ("a.yaml", f"name: x\nuuid:  '{UUID.upper()}'\nbroken: [".encode(), UUID),
        ("a.yaml", YAML.encode(), UUID),
        ("a.yaml", f"user_data: |\n  uuid: {UUID}\n".encode(), None),
        ("a.yaml", f"{{uuid: {UUID}}}".encode(), None),
        (
            "a.json",
            json.dumps({"vendor_data": {"uuid": "x"}, **DOCUMENT}).encode(),
            UUID,
        ),
        ("a.json", json.dumps(DOCUMENT).encode()[:-20], UUID),
        ("a.json", json.dumps({"user_data": json.dumps(DOCUMENT)}).encode(), None),
        ("a.json", json.dumps({"user_data": json.dumps(DOCUMENT)})[:-1].encode(), None),
        ("a.json", b"[]", None),
        ("a.json", b'{"uuid": 5}', None),
    ],
)
def test_a_likely_uuid(name: str, content: bytes, uuid: str | None) -> None:
    """Found in broken files too; one within a text is not taken."""
    assert uuid == likely_uuid(name, content)
