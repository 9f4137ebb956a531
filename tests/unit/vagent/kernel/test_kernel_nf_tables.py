"""Messages of a transaction, byte for byte, and the kernel's answers in words."""

from __future__ import annotations

import struct

import pytest

from vagent.kernel.netlink import Acknowledgement
from vagent.kernel.nf_tables import (
    IPV6,
    MAX_ELEMENTS,
    Element,
    NftMessage,
    add_elements,
    delete_elements,
    encode,
    insert_rule,
    refusal,
    xt_queue,
)

ONE = Element(b"\x02\0\0\0", b"\x0a\0\0\x05", "tap one")
MAC = Element(b"\x03\0\0\0", b"\x02\0\0\0\0\x01", "tap two")

Message = tuple[int, int, int, bytes]


def messages(data: bytes) -> list[Message]:
    """Kind, flags, sequence number and what follows the netlink header of each."""
    found: list[Message] = []
    while data:
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
        found.append((kind, flags, sequence, data[16:length]))
        data = data[length:]
    return found


def test_elements_as_the_kernel_reads_them() -> None:
    """A list of pairs, each side a value in a nest; table and map are named first."""
    (step,) = add_elements("t", "m", [ONE])
    assert (
        "0600 0100 7400 0000"  # table "t"
        "0600 0200 6d00 0000"  # map "m"
        "2000 0380 1c00 0180"  # its elements, the first of them
        "0c00 0180 0800 0100 02000000"  # key
        "0c00 0280 0800 0100 0a000005"  # value
    ).replace(" ", "") == step.payload.hex()


def test_a_value_of_six_bytes_says_so_and_is_padded() -> None:
    """A MAC address: the kernel wants its very length."""
    (step,) = add_elements("t", "m", [MAC])
    assert bytes.fromhex("1000 0280 0a00 0100 020000000001 0000") == step.payload[-16:]


def test_many_elements_are_several_messages() -> None:
    """Each attribute's length fits into its 16 bits."""
    elements = [
        Element(bytes(44), n.to_bytes(16), f"tap {n}") for n in range(MAX_ELEMENTS + 1)
    ]
    first, second = add_elements("t", "m", elements)
    assert MAX_ELEMENTS == len(first.about)
    assert ("map m, tap 256",) == second.about
    assert len(first.payload) < 1 << 16


THREE = [
    NftMessage(kind, flags, bytes([kind & 0xFF] * 8), "chain in_7")
    for kind, flags in ((0x0A03, 0x400), (0x0A08, 0), (0x0A05, 0))
]
"""Steps of any kind."""


def test_no_elements_are_no_message() -> None:
    """Nothing to say is not said."""
    assert [] == delete_elements("t", "m", [])


def test_deleting_creates_nothing() -> None:
    """The same elements, another message, no flags."""
    (add,), (delete,) = add_elements("t", "m", [ONE]), delete_elements("t", "m", [ONE])
    assert (0x0A0C, 0x400) == (add.kind, add.flags)
    assert (0x0A0E, 0) == (delete.kind, delete.flags)
    assert add.payload == delete.payload


def test_a_transaction_is_a_batch_whose_last_step_is_acknowledged() -> None:
    """Begin and end enclose it; every message is a request, of the netdev family."""
    steps = THREE
    begin, *inside, end = messages(bytes(encode(steps)))
    assert (16, 1, 0, b"\0\0\0\x0a") == begin
    assert (17, 1, 4, b"\0\0\0\x0a") == end
    assert [(0x401, 1), (1, 2), (1 | 4, 3)] == [
        (flags, sequence) for _, flags, sequence, _ in inside
    ]
    assert [step.payload for step in steps] == [body[4:] for *_, body in inside]
    assert {b"\5\0\0\0"} == {body[:4] for *_, body in inside}


STEPS = [
    *add_elements("t", "m", [ONE, ONE._replace(whose="tap two")]),
    *THREE,
]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([Acknowledgement(4, 0)], ""),
        ([], "the kernel did not answer"),
        ([Acknowledgement(1, 17)], "map m, tap one: File exists (EEXIST)"),
        ([Acknowledgement(1, 17, 40)], "map m, tap one: File exists (EEXIST)"),
        ([Acknowledgement(1, 17, 68)], "map m, tap two: File exists (EEXIST)"),
        ([Acknowledgement(1, 17, 999)], "map m, tap two: File exists (EEXIST)"),
        (
            [Acknowledgement(3, 2), Acknowledgement(4, 2)],
            "chain in_7: No such file or directory (ENOENT) (and 1 more)",
        ),
        (
            [Acknowledgement(0, 12), Acknowledgement(4, 0)],
            "transaction of 4 steps: Cannot allocate memory (ENOMEM)",
        ),
        (
            [Acknowledgement(9, 1234)],
            "transaction of 4 steps: Unknown error 1234 (1234)",
        ),
    ],
)
def test_a_refusal_says_what_and_why(
    answers: list[Acknowledgement], words: str
) -> None:
    """The step, the element by the offset of the fault, errno in words and by name."""
    assert words == refusal(STEPS, answers)


def test_a_step_of_one_is_that_one() -> None:
    """Whatever offset the kernel names."""
    step: NftMessage = THREE[0]
    assert "chain in_7" == step.at(12345)


def test_the_xt_queue_rule_as_the_kernel_reads_it() -> None:
    """The target's name, revision and queue number, without the bypass flag."""
    (step,) = insert_rule(IPV6, "vagent", "to_agent", xt_queue(8097))
    assert IPV6 == step.family
    assert (
        "0b00 0100 766167656e7400 00"  # table "vagent"
        "0d00 0200 746f5f6167656e7400 000000"  # chain "to_agent"
        "3800 0480 3400 0180"  # its expressions, the first of them
        "0b00 0100 74617267657400 00"  # "target"
        "2400 0280"
        "0c00 0100 4e46515545554500"  # "NFQUEUE"
        "0800 0200 00000003"  # its revision
        "0a00 0300 a11f 0100 0000 0000"  # queue 8097, one of them, no flag; padding
    ).replace(" ", "") == step.payload.hex()


def test_elements_follow_each_other() -> None:
    """Nothing between them."""
    (both,) = add_elements("t", "m", [ONE, ONE])
    (one,) = add_elements("t", "m", [ONE])
    assert one.payload[20:] * 2 == both.payload[20:]


def test_each_byte_of_a_message_belongs_to_an_element() -> None:
    """The first ones to the first, what follows to the last."""
    elements = [ONE._replace(whose=f"tap {n}") for n in range(10)]
    (step,) = add_elements("t", "map", elements)
    size = len(add_elements("t", "map", [ONE])[0].payload) + 20
    first, length = size - 28, 28
    for n in range(10):
        for byte in (first + n * length, first + (n + 1) * length - 1):
            assert f"map map, tap {n}" == step.at(byte)
    assert "map map, tap 0" == step.at(0)
    assert "map map, tap 9" == step.at(first + 10 * length)


def test_the_last_step_is_named_too() -> None:
    """Its own number is among the steps, the next is the transaction's."""
    refused = "chain in_7: No such file or directory (ENOENT)"
    assert refused == refusal(STEPS, [Acknowledgement(len(STEPS), 2)])
    whole = refusal(STEPS, [Acknowledgement(len(STEPS) + 1, 2)])
    assert whole.startswith("transaction of 4 steps: ")


def test_queues_have_sixteen_bits() -> None:
    """The last one is as good as any."""
    assert xt_queue(65535).attributes.endswith(bytes.fromhex("ffff 0100 0000 0000"))


def test_expressions_of_a_rule_follow_each_other() -> None:
    """Nothing between them."""
    (one,) = insert_rule(IPV6, "t", "c", xt_queue(1))
    (two,) = insert_rule(IPV6, "t", "c", xt_queue(1), xt_queue(1))
    expression = one.payload[-52:]
    assert two.payload.endswith(expression * 2)
