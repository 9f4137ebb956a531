"""Network namespaces: found by name, kept without one, entered by one thread."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagent.errors import KernelError
from vagent.kernel import namespace as room
from vagent.kernel.namespace import Namespace, OwnNetwork, entered_if_named

OWN, MAIN = Path("/proc/thread-self/ns/net"), Path("/proc/self/ns/net")
root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root to make network namespaces"
)


def here() -> int:
    """Which network the calling thread is in."""
    return OWN.stat().st_ino


def netns(*words: str) -> None:
    subprocess.run(["ip", "netns", *words], check=True)


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.fixture
def name() -> Iterator[str]:
    """That of a namespace that is there until the end, if the test leaves it."""
    made = f"test-{secrets.token_hex(4)}"
    netns("add", made)
    yield made
    if Namespace(made).path.exists():
        netns("del", made)


@pytest.fixture
def opened(name: str) -> Iterator[Namespace]:
    """Taken hold of; the thread must be at home again at the end."""
    home = here()
    namespace = Namespace(name)
    namespace.open()
    yield namespace
    namespace.close()
    assert here() == home


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of names that needs no root."""
    monkeypatch.setattr(room, "NAMED", tmp_path)
    return tmp_path


# -- with real namespaces


@root_only
def test_inside_it_the_network_is_another(opened: Namespace) -> None:
    """With its own interfaces; outside again, everything is as before."""
    home = here()
    with opened.entered():
        assert (opened.path.stat().st_ino, [(1, "lo")]) == (
            here(),
            socket.if_nameindex(),
        )
    assert here() == home


@root_only
def test_it_is_entered_again_and_again(opened: Namespace) -> None:
    """Each time, and always left."""
    home = here()
    for _ in range(2):
        with opened.entered():
            assert here() != home
        assert here() == home


@root_only
def test_an_exception_leaves_it(opened: Namespace) -> None:
    """It is raised outside."""
    home = here()
    with pytest.raises(ZeroDivisionError), opened.entered():
        raise ZeroDivisionError
    assert here() == home


@root_only
def test_only_the_calling_thread_is_inside(opened: Namespace) -> None:
    """Others work on in their own network."""
    home = here()
    seen: list[int] = []
    ask = threading.Event()

    def look() -> None:
        ask.wait()
        seen.append(here())

    other = threading.Thread(target=look)
    other.start()
    with opened.entered():
        ask.set()
        other.join()
        assert here() != home
    assert [home] == seen


@root_only
def test_what_is_made_inside_stays_there(opened: Namespace) -> None:
    """A socket for good; a child starts there; settings below /proc/sys/net are its."""
    key = Path("/proc/sys/net/ipv4/ip_default_ttl")
    before = key.read_text()
    with opened.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        child = subprocess.run(
            ["readlink", "/proc/self/ns/net"],
            check=True,
            capture_output=True,
            text=True,
        )
        key.write_text("33")
    with made, pytest.raises(OSError, match="unreachable"):
        made.connect(("127.0.0.1", 9))  # whose loopback is down
    assert f"net:[{opened.path.stat().st_ino}]" == child.stdout.strip()
    assert before == key.read_text()


@root_only
def test_who_holds_it_needs_no_name(opened: Namespace) -> None:
    """Who removes the name, or gives it to another one, changes nothing inside."""
    with opened.entered():
        inside = here()
    assert opened.is_named()
    netns("del", opened.name)
    assert not opened.is_named()
    with opened.entered():
        assert here() == inside
    netns("add", opened.name)
    assert not opened.is_named()
    with opened.entered():
        assert here() == inside
    opened.open()
    assert opened.is_named()
    with opened.entered():
        assert here() != inside


@root_only
def test_it_is_let_go_of(name: str) -> None:
    """No descriptor is left, however often it was opened; then nobody gets in."""
    before = descriptors()
    namespace = Namespace(name)
    assert f"<Namespace {name} closed>" == repr(namespace)
    for _ in range(3):
        namespace.open()
    assert f"<Namespace {name} open>" == repr(namespace)
    assert before + 2 == descriptors()
    namespace.close()
    namespace.close()
    assert before == descriptors()
    with pytest.raises(KernelError, match=f"namespace {name} is not open"):
        namespace.entered().__enter__()


@root_only
def test_one_that_is_there_is_entered(name: str) -> None:
    """For the moment; nothing is held afterwards."""
    home, before = here(), descriptors()
    with entered_if_named(name) as is_there:
        assert (True, True) == (is_there, here() != home)
    assert (home, before) == (here(), descriptors())
    with pytest.raises(ZeroDivisionError), entered_if_named(name):
        raise ZeroDivisionError
    assert (home, before) == (here(), descriptors())


# -- without


def test_one_that_is_not_there_is_not_entered(names: Path) -> None:
    """Nor is a plain file of that name."""
    del names
    home = here()
    with entered_if_named("nobody") as is_there:
        assert (False, home) == (is_there, here())


def test_a_plain_file_is_no_namespace(names: Path) -> None:
    """It is what is left of one that was made in a mount namespace that has ended."""
    (names / "plain").touch()
    assert not Namespace("plain").is_named()
    assert not Namespace("nobody").is_named()
    (names / "own").symlink_to(MAIN)
    assert Namespace("own").is_named()


@root_only
def test_a_plain_file_cannot_be_entered(names: Path) -> None:
    """The kernel's reason is told, and nothing stays open."""
    before = descriptors()
    (names / "plain").touch()
    with pytest.raises(KernelError, match=r"network namespace plain: .*Invalid arg"):
        Namespace("plain").open()
    assert before == descriptors()


def test_a_name_that_is_not_there_cannot_be_opened(names: Path) -> None:
    """Nothing stays open."""
    del names
    before = descriptors()
    with pytest.raises(KernelError, match=r"network namespace nobody: .*No such file"):
        Namespace("nobody").open()
    assert before == descriptors()


def test_who_may_not_enter_is_told_at_once(
    names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is opened, not at the first packet."""

    class Refusing:
        def setns(self, _descriptor: int, kind: int) -> int:
            assert 0x4000_0000 == kind
            ctypes.set_errno(errno.EPERM)
            return -1

    before = descriptors()
    (names / "own").symlink_to(MAIN)
    monkeypatch.setattr(room, "_LIBC", Refusing())
    with pytest.raises(KernelError, match=r"namespace own: .*setns: Operation not"):
        Namespace("own").open()
    assert before == descriptors()


def test_a_closed_one_is_not_entered() -> None:
    """Rather than to work in the wrong network."""
    with (
        pytest.raises(KernelError, match=r"network namespace x is not open"),
        Namespace("x").entered(),
    ):
        raise AssertionError


def test_ones_own_network_is_where_one_is() -> None:
    """Entering it does nothing."""
    home = here()
    with OwnNetwork().entered():
        assert here() == home
