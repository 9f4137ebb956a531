"""Promises about TLS files: what is in them is said before a guest notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.pki import Authority
from vagent.config.model import ClientTls
from vagent.doctor.tls import inspect, try_upstream
from vagent.metadata.upstream.target import HostPort, Target


@pytest.fixture(scope="module", name="pki")
def pki_fixture(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def test_good_files(pki: Authority) -> None:
    """No problem, the subject, and the dates of certificate and CA."""
    pair = pki.client("agent")
    found = inspect("x", Path(pair.cert), Path(pair.key), Path(pki.cert))
    assert ("", "CN=agent") == (found.problem, found.subject)
    assert found.valid_from is not None
    assert found.valid_until is not None
    assert found.ca_until is not None


def test_a_key_of_another_certificate(pki: Authority) -> None:
    """Both files are named."""
    one, other = pki.client("one"), pki.client("other")
    found = inspect("x", Path(one.cert), Path(other.key), Path(pki.cert))
    assert f"{other.key} is not the key of {one.cert}" == found.problem


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_the_unusable_file_is_named(
    pki: Authority, tmp_path: Path, which: int, content: bytes | None
) -> None:
    """A file that is not there, empty, or something else."""
    pair = pki.client("agent")
    files = [Path(pair.cert), Path(pair.key), Path(pki.cert)]
    files[which] = tmp_path / "bad.pem"
    if content is not None:
        files[which].write_bytes(content)
    assert inspect("x", *files).problem.startswith(str(tmp_path / "bad.pem"))


def test_unusable_files_try_nothing(tmp_path: Path) -> None:
    """What is wrong with them is said once, where they are inspected."""
    bad = tmp_path / "bad.pem"
    target = Target((HostPort("192.0.2.1", 1),), "")
    assert () == try_upstream(target, ClientTls(bad, bad, bad), 1.0)
