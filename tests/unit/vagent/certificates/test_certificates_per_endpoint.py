"""Whose TLS files a connection uses: the endpoint's own, or everybody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.pki import Authority
from vagent.certificates.per_endpoint import (
    FILES,
    MAX_FOLDERS,
    UpstreamTls,
    all_files,
    files_in,
    files_of,
    folder_of,
)
from vagent.config.model import ClientTls
from vagent.errors import UpstreamError
from vagent.observe.event import Event


@pytest.fixture
def files(tmp_path: Path) -> ClientTls:
    """Everybody's, and an empty directory of folders."""
    pki = Authority(tmp_path / "pki")
    client = pki.client("client")
    (tmp_path / "by").mkdir()
    return ClientTls(client.cert, client.key, pki.cert, tmp_path / "by")


def fill(folder: Path) -> Path:
    """A folder with files of another authority."""
    pki = Authority(folder / "pki")
    client = pki.client("own")
    for name, source in zip(FILES, (client.cert, client.key, pki.cert), strict=True):
        (folder / name).write_bytes(source.read_bytes())
    return folder


def test_address_then_name_then_everybodys(files: ClientTls) -> None:
    """The nearest goes first; a folder that appears is found."""
    by = files.by_endpoint
    assert by is not None
    assert files.client_cert == files_of(files, "10.0.0.5", "nova").client_cert
    (by / "nova").mkdir()
    assert by / "nova" == folder_of(files, "10.0.0.5", "nova")
    (by / "10.0.0.5").mkdir()
    assert files_in(by / "10.0.0.5") == files_of(files, "10.0.0.5", "nova")
    assert by / "nova" == folder_of(files, "10.0.0.6", "nova")
    assert None is folder_of(files, "10.0.0.6", "other")


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "a/b", "../by", "a\0b", "-x"])
def test_a_name_is_no_way_out_of_the_directory(files: ClientTls, name: str) -> None:
    """Names come from the config store."""
    assert None is folder_of(files, name, name)


def test_a_file_in_place_of_a_folder_is_none(files: ClientTls) -> None:
    """Nor is a directory that is not there anything."""
    assert files.by_endpoint is not None
    (files.by_endpoint / "nova").write_text("")
    assert None is folder_of(files, "nova", "nova")
    files.by_endpoint.joinpath("nova").unlink()
    files.by_endpoint.rmdir()
    assert None is folder_of(files, "nova", "nova")
    assert [("", files)] == list(all_files(files))


def test_each_has_its_own_context_and_keeps_it(files: ClientTls) -> None:
    """Two endpoints that trust different authorities at the same time."""
    assert files.by_endpoint is not None
    events: list[Event] = []
    tls = UpstreamTls(files, events.append)
    fill(files.by_endpoint / "10.0.0.5")
    own, other = tls.of("10.0.0.5", "nova"), tls.of("10.0.0.6", "nova")
    subjects = [
        {ca["subject"] == ca["issuer"] for ca in one.context().get_ca_certs()}
        for one in (own, other)
    ]
    assert [{True}, {True}] == subjects
    ders = [one.context().get_ca_certs(binary_form=True) for one in (own, other)]
    assert ders[0] != ders[1]
    assert own is tls.of("10.0.0.5", "nova")
    assert own.context() is own.context()
    assert ["CN=own", "CN=client"] == [
        event.text().split()[4].rstrip(",") for event in events
    ]


def test_a_missing_file_is_a_failure_not_a_way_back(files: ClientTls) -> None:
    """What was meant for one authority is not shown to another."""
    assert files.by_endpoint is not None
    tls = UpstreamTls(files, lambda _: None)
    folder = fill(files.by_endpoint / "10.0.0.5")
    (folder / "ca-cert.pem").unlink()
    with pytest.raises(UpstreamError, match=r"ca-cert\.pem"):
        tls.of("10.0.0.5", "10.0.0.5").context()


def test_no_number_of_folders_grows_the_agent(files: ClientTls) -> None:
    """Neither what is watched nor what is kept."""
    assert files.by_endpoint is not None
    tls = UpstreamTls(files, lambda _: None)
    for number in range(MAX_FOLDERS + 3):
        (files.by_endpoint / f"n{number}").mkdir()
        tls.of(f"n{number}", "")
    assert MAX_FOLDERS + 1 == len(list(all_files(files)))
    assert MAX_FOLDERS == len(tls._own)
