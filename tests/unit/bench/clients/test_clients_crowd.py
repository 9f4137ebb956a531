"""The guests of the boot storm, and what an upstream knows of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.clients.crowd import crowd, load, save
from bench.scene.slow_nova import Nova


def test_a_crowd_has_nobody_twice() -> None:
    """Neither an address nor an instance, and all ask from loopback."""
    members = crowd(500)
    assert 500 == len({member.address for member in members})
    assert 500 == len({member.instance_id for member in members})
    assert all(member.address.startswith("127.1.") for member in members)


def test_a_crowd_is_read_as_it_was_written(tmp_path: Path) -> None:
    """By contestants that run in another environment."""
    members = crowd(3)
    assert members == load(save(tmp_path / "crowd", members))


def request(instance: str = "one", tenant: str = "t", proof: str = "p") -> bytes:
    """The head as the upstream reads it: without its end, in small letters."""
    return (
        f"get / http/1.1\r\nx-instance-id: {instance}\r\nx-tenant-id: {tenant}"
        f"\r\nx-instance-id-signature: {proof}"
    ).encode()


@pytest.fixture
def nova() -> Nova:
    """Knows two guests and has seen none."""
    return Nova({b"one": b"t p", b"two": b"t q"}, cold=0.08, warm=0.0015)


def test_each_guest_is_slow_once(nova: Nova) -> None:
    """The first answer to a guest is cold, whoever was there before."""
    waits = [
        nova.answer(request(instance, proof=proof))[0]
        for instance, proof in (("one", "p"), ("one", "p"), ("two", "q"), ("two", "q"))
    ]
    assert [0.08, 0.0015, 0.08, 0.0015] == waits


def test_an_answer_begins_with_whom_it_is_for(nova: Nova) -> None:
    """So that a mixed-up identity is seen by who asked."""
    _, reply = nova.answer(request())
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body.startswith(b"one t p\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    "wrong",
    [
        request(instance="three"),
        request(tenant="u"),
        request(proof="q"),
        b"get / http/1.1\r\nhost: nova",
    ],
)
def test_who_does_not_prove_it_is_refused(nova: Nova, wrong: bytes) -> None:
    """A contestant that leaves out the work gets no good answer."""
    assert b" 403 " in nova.answer(wrong)[1]
