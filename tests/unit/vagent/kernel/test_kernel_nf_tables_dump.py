"""What the kernel says of its nftables is counted; what it does not say is not made up.
Whether it is counted right shows on the kernel, in `tests/system`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vagent.errors import KernelError
from vagent.kernel.netlink import attribute, messages, netfilter_message
from vagent.kernel.nf_tables_dump import (
    Place,
    TableCounts,
    encode_generation,
    generation_in,
    read_counts,
    rule_place,
)

NEWGEN = 0xA0F
TABLE, CHAIN, RULE, SET, ELEMENT = 0xA01, 0xA04, 0xA07, 0xA0A, 0xA0D
NESTED = 0x8000


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def said(kind: int, payload: bytes, family: int = 5) -> bytes:
    return netfilter_message(
        kind, 0, sequence=1, family=family, resource=0, payload=payload
    )


def elements(*sizes: int) -> bytes:
    """A message with an element of each of these sizes."""
    return listing(*(bytes(size) for size in sizes))


def listing(*listed: bytes) -> bytes:
    """A message with these elements."""
    inner = b"".join(attribute(1, element) for element in listed)
    return text(1, "vagent") + text(2, "identity") + attribute(3 | NESTED, inner)


def element(key: bytes, value: bytes) -> bytes:
    """Key and value as the kernel lists them: value after key, and more behind."""
    return (
        attribute(1, attribute(1, key))
        + attribute(2 | NESTED, attribute(1, value))
        + attribute(3, number(1))
    )


class Tables:
    """A kernel: what it lists, by kind of question and family."""

    def __init__(self) -> None:
        self.lists: dict[tuple[int, int], list[bytes]] = {}
        self.asked: list[tuple[int, int, bytes]] = []

    def ask(self, question: bytes) -> Iterable[tuple[int, bytes]]:
        ((kind, body),) = messages(question)
        self.asked.append((kind, body[0], body[4:]))
        header = bytes((body[0], 0, 0, 0))
        return [
            (kind - 1, header + each) for each in self.lists.get((kind, body[0]), [])
        ]


@pytest.fixture
def tables() -> Tables:
    """One table of ours, beside one of somebody else."""
    made = Tables()
    hook = attribute(4 | NESTED, b"") + attribute(6, number(7))
    hook += attribute(5, number(1))
    made.lists[TABLE, 5] = [
        text(1, "vagent") + attribute(2, number(6)),
        text(1, "other") + attribute(2, number(1)),
    ]
    made.lists[CHAIN, 5] = [
        text(1, "vagent") + text(3, "trap") + attribute(6, number(9)),
        text(1, "other") + text(3, "input") + hook,
        text(1, "vagent") + text(3, "in_11") + hook,
    ]
    made.lists[RULE, 5] = [text(1, "vagent") + text(2, "trap")] * 2
    made.lists[SET, 5] = [text(1, "vagent") + text(2, name) for name in ("a", "b")]
    made.lists[ELEMENT, 5] = [elements(8, 8, 8), elements(8)]
    return made


def test_rules_and_elements_are_counted(tables: Tables) -> None:
    """Of our table alone: rules of a chain that others jump to one by one, of a hooked
    one by its uses, elements where it is asked for.
    """
    found = read_counts(tables.ask, "vagent", [5], {(5, "a")}, dict)
    wanted = TableCounts(
        {(5, "trap"): 2, (5, "in_11"): 7}, {(5, "a"): 4, (5, "b"): 0}, {(5, "in_11"): 1}
    )
    assert wanted == found


def test_a_policy_is_told_and_a_dormant_table(tables: Tables) -> None:
    """Of our table alone. It is dormant by the lowest of its flags."""
    hook = (
        attribute(4 | NESTED, b"") + attribute(5, number(0)) + attribute(6, number(1))
    )
    tables.lists[CHAIN, 5][2] = text(1, "vagent") + text(3, "in_11") + hook
    tables.lists[TABLE, 5][0] = text(1, "vagent") + attribute(2, number(3))
    found = read_counts(tables.ask, "vagent", [5], set(), dict)
    assert ({(5, "in_11"): 0}, {5}) == (found.policies, found.dormant)


def test_questions_name_what_they_are_about(tables: Tables) -> None:
    """The kernel lists rules of one chain, sets of one table, elements of one set."""
    read_counts(tables.ask, "vagent", [5], {(5, "b")}, dict)
    ours = text(1, "vagent")
    assert [
        (CHAIN, 5, b""),
        (RULE, 5, ours + text(2, "trap")),
        (TABLE, 5, b""),
        (SET, 5, ours),
        (ELEMENT, 5, ours + text(2, "b")),
    ] == tables.asked


def test_a_question_asks_for_a_list(tables: Tables) -> None:
    """A request for a dump, with the first sequence number."""
    questions = []

    def ask(question: bytes) -> Iterable[tuple[int, bytes]]:
        questions.append(question)
        return tables.ask(question)

    read_counts(ask, "vagent", [5], set(), dict)
    wanted = netfilter_message(
        CHAIN, 0x301, sequence=1, family=5, resource=0, payload=b""
    )
    assert wanted == questions[0]


def test_what_has_no_name_is_counted_without(tables: Tables) -> None:
    """The kernel names everything; were it not so, nothing would be made up. A name
    that is no UTF-8 is somebody else's.
    """
    tables.lists[CHAIN, 5] = [text(1, "vagent"), text(1, "vagent") + text(3, "MAX")]
    tables.lists[CHAIN, 5] += [text(1, "vagent") + attribute(3, b"\xff\0")]
    tables.lists[SET, 5] = [text(1, "vagent")]
    tables.lists[ELEMENT, 5] = [text(1, "vagent")]
    found = read_counts(tables.ask, "vagent", [5], {(5, "")}, dict)
    assert {(5, ""), (5, "MAX"), (5, "\ufffd")} == {*found.rules}
    assert {(5, ""): 0} == found.elements
    assert (2, "") == rule_place(2, b"")


def test_a_table_that_is_gone_has_nothing(tables: Tables) -> None:
    """And is asked nothing more: the kernel refuses to list the sets of no table."""
    assert TableCounts() == read_counts(tables.ask, "vagent", [2, 10], set(), dict)
    assert [(CHAIN, 2, b""), (CHAIN, 10, b"")] == tables.asked


def test_answers_to_something_else_are_left_out(tables: Tables) -> None:
    """Only messages of the kind that was asked for count."""

    def ask(question: bytes) -> Iterable[tuple[int, bytes]]:
        return [(kind + 64, body) for kind, body in tables.ask(question)]

    assert TableCounts() == read_counts(ask, "vagent", [5], set(), dict)


@example([8, 0])
@given(st.lists(st.integers(0, 70), max_size=40))
def test_elements_of_any_sizes_are_counted(sizes: list[int]) -> None:
    """As many as there are, alike or not."""
    tables = Tables()
    tables.lists[CHAIN, 5] = [text(1, "vagent") + text(3, "trap")]
    tables.lists[SET, 5] = [text(1, "vagent") + text(2, "identity")]
    tables.lists[ELEMENT, 5] = [elements(*sizes)]
    found = read_counts(tables.ask, "vagent", [5], {(5, "identity")}, dict)
    assert len(sizes) == found.elements[5, "identity"]


def test_elements_are_compared(tables: Tables) -> None:
    """Key and value, padding aside, in any order. More of them is somebody's wish."""
    there = element(b"key1", b"sixsix"), element(b"key2", b"four"), element(b"x", b"y")
    tables.lists[ELEMENT, 5] = [listing(*there[:2]), listing(there[2])]

    def changed(*wanted: bytes, name: str = "a") -> dict[Place, int]:
        place = 5, name
        compare = {place: {*wanted}}
        found = read_counts(tables.ask, "vagent", [5], {place}, lambda: compare)
        assert 3 == found.elements[place]
        return found.changed

    assert {} == changed(b"key2four", b"key1sixsix")
    assert {(5, "a"): 1} == changed(b"key2four", b"key1sixsiX")
    assert {(5, "b"): 2} == changed(b"key2sixsix", b"key1four", b"xy", name="b")


def test_what_follows_an_element_is_not_of_it(tables: Tables) -> None:
    """Each ends where it says, and one that is broken has no key."""
    broken = struct.pack("=HH", 3, 1) + bytes(8)
    tables.lists[ELEMENT, 5] = [listing(broken, element(b"key", b"value"))]
    found = read_counts(
        tables.ask, "vagent", [5], {(5, "a")}, lambda: {(5, "a"): {b"keyvalue", b""}}
    )
    assert {} == found.changed


def test_a_list_that_is_cut_off_ends(tables: Tables) -> None:
    """A length of zero is no reason to stay."""
    broken = text(1, "vagent") + text(2, "a") + attribute(3, bytes(8) + b"\1")
    tables.lists[ELEMENT, 5] = [broken]
    assert (
        0 == read_counts(tables.ask, "vagent", [5], {(5, "a")}, dict).elements[5, "a"]
    )


def test_the_generation() -> None:
    """A number of 32 bits, in the answer to our question."""
    question = netfilter_message(
        0xA10, 1, sequence=1, family=0, resource=0, payload=b""
    )
    assert question == encode_generation()
    answer = said(NEWGEN, attribute(1, struct.pack("!I", 4_000_000_001)))
    assert 4_000_000_001 == generation_in(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        said(NEWGEN, b""),
        said(NEWGEN, attribute(1, b"\1")),
        said(NEWGEN, attribute(2, bytes(4))),
        said(NEWGEN - 1, attribute(1, bytes(4))),
    ],
)
def test_no_generation_is_an_error(answer: bytes) -> None:
    """Never taken for zero."""
    with pytest.raises(KernelError, match="nf_tables generation"):
        generation_in(answer)


def test_the_chain_of_a_rule() -> None:
    """As the message says that writes it."""
    payload = text(1, "vagent") + text(2, "to_agent") + attribute(4, b"")
    assert (2, "to_agent") == rule_place(2, payload)
