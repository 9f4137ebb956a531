"""Which authorities and which certificate count for a target."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from lab.pki import Authority
from vagent.config.model import VendorDataConfig
from vagent.nova.vendordata.answer import TargetError
from vagent.nova.vendordata.target_tls import TargetTls, TlsContexts


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def config(tmp_path: Path, pki: Authority) -> VendorDataConfig:
    """One CA for all targets, no certificate, folders for single ones."""
    return VendorDataConfig(ca_cert=pki.cert, target_tls=tmp_path)


def authorities(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


def put(folder: Path, **files: Path) -> None:
    """Copies of the files, as `ca_cert` or `client_key`, into a target's folder."""
    folder.mkdir(exist_ok=True)
    for name, file in files.items():
        (folder / f"{name.replace('_', '-')}.pem").write_bytes(file.read_bytes())


def test_the_servers_name_and_chain_are_demanded(config: VendorDataConfig) -> None:
    """Nothing is sent before."""
    context = TargetTls(config, "a", TlsContexts()).context()
    assert context.check_hostname
    assert ssl.CERT_REQUIRED == context.verify_mode
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert 1 == authorities(context)


def test_without_a_ca_those_of_the_system_count(
    config: VendorDataConfig, monkeypatch: pytest.MonkeyPatch, pki: Authority
) -> None:
    """Where OpenSSL looks for them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.cert))
    context = TargetTls(replace(config, ca_cert=None), "a", TlsContexts()).context()
    assert 1 == authorities(context)


def test_a_context_is_kept_while_its_files_are(
    config: VendorDataConfig, pki: Authority, tmp_path: Path
) -> None:
    """And made anew when one changes, or a folder comes."""
    copy = tmp_path / "copy.crt"
    copy.write_bytes(pki.cert.read_bytes())
    tls = TargetTls(replace(config, ca_cert=copy), "a", TlsContexts())
    first = tls.context()
    assert first is tls.context()
    os.utime(copy, (1, 1))
    second = tls.context()
    assert second is not first
    put(tmp_path / "a", ca_cert=pki.cert)
    assert tls.context() is not second


def test_the_folder_of_a_target_goes_first(
    config: VendorDataConfig, pki: Authority, tmp_path: Path
) -> None:
    """Its CA counts alone; the files of other targets do not."""
    other = Authority(tmp_path / "other", "another CA")
    put(tmp_path / "a", ca_cert=other.cert)
    (own,) = TargetTls(config, "a", TlsContexts()).context().get_ca_certs()
    (usual,) = TargetTls(config, "b", TlsContexts()).context().get_ca_certs()
    assert own["subject"] != usual["subject"]


def test_a_certificate_of_its_own(
    config: VendorDataConfig, pki: Authority, tmp_path: Path
) -> None:
    """Without a CA in the folder those of the system count for that target."""
    pair = pki.client("client")
    put(tmp_path / "a", client_cert=pair.cert, client_key=pair.key)
    TargetTls(config, "a", TlsContexts()).context()
    TargetTls(
        replace(config, client_cert=pair.cert, client_key=pair.key),
        "b",
        TlsContexts(),
    ).context()


def complaint(config: VendorDataConfig, name: str = "a") -> str:
    with pytest.raises(TargetError) as caught:
        TargetTls(config, name, TlsContexts()).context()
    assert "tls" == caught.value.kind
    return str(caught.value)


def test_files_that_are_no_good_are_named(
    config: VendorDataConfig, pki: Authority, tmp_path: Path
) -> None:
    """Which file, and why; the call fails, and the next one looks again."""
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    pair, other = pki.client("client"), pki.client("other")
    assert f"{bad}: " in complaint(replace(config, ca_cert=bad))
    assert f"{bad}: " in complaint(
        replace(config, client_cert=bad, client_key=pair.key)
    )
    said = complaint(replace(config, client_cert=pair.cert, client_key=other.key))
    assert f"{other.key}: OpenSSL cannot use it: key values mismatch" == said
    gone = tmp_path / "gone.pem"
    assert f"{gone}: No such file or directory" == complaint(
        replace(config, ca_cert=gone)
    )
    put(tmp_path / "a", client_cert=pair.cert)
    assert f"{tmp_path}/a/client-key.pem: No such file" in complaint(config)


@pytest.mark.parametrize("name", ["..", "a/b", ".x", "-", "x:y"])
def test_names_that_are_no_folder(
    config: VendorDataConfig, name: str, pki: Authority
) -> None:
    """They never become part of a path."""
    assert 1 == authorities(TargetTls(config, name, TlsContexts()).context())


def test_targets_with_the_same_files_share_a_context(
    config: VendorDataConfig, pki: Authority, tmp_path: Path
) -> None:
    """It is made once for all of them, and not given to one with files of its own."""
    contexts = TlsContexts()
    one, two, own = (TargetTls(config, name, contexts) for name in ("x", "y", "own"))
    pair = pki.client("client")
    put(tmp_path / "own", ca_cert=pki.cert)
    assert one.context() is two.context() is one.context()
    assert own.context() is not one.context()
    put(tmp_path / "y", ca_cert=pki.cert, client_cert=pair.cert, client_key=pair.key)
    assert one.context() is not two.context()
