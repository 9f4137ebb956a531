"""What the agent does not load unless it is configured to use it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from vagent.transport.without_pyopenssl import without_pyopenssl

NAME = "OpenSSL"


def test_import_fails_only_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported later finds it again."""
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with without_pyopenssl(), pytest.raises(ModuleNotFoundError):
        import OpenSSL
    import OpenSSL

    assert NAME == OpenSSL.__name__


def test_what_is_loaded_is_there_again() -> None:
    """And in between its parts are hidden as well: a doctor has loaded them."""
    import OpenSSL.SSL

    with without_pyopenssl(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("OpenSSL.SSL")
    assert OpenSSL is importlib.import_module("OpenSSL")
    assert OpenSSL.SSL is importlib.import_module("OpenSSL.SSL")


def test_agent_loads_nothing_that_it_may_never_need() -> None:
    """Together these are 60 MiB. In a process of its own, as the tests load them."""
    program = (
        "import sys, vagent.cli, vagent.transport.reactor, vagent.agent;"
        "print(sorted({'OpenSSL', 'cryptography', 'scapy', 'service_identity',"
        " 'twisted.internet.endpoints'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "[]\n" == loaded.stdout
