"""Inspects the TLS files, and tries the upstream with them as a client of its own.

It uses plain `ssl` and not the agent's connection code, as a second opinion. No
identity header is sent, and only the beginning of the reply is looked at.
"""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates

from vagent.certificates.expiry import deciding
from vagent.certificates.per_endpoint import files_of
from vagent.config.model import ClientTls
from vagent.doctor.facts import TlsPair, UpstreamTrial
from vagent.doctor.presented import READ_SIZE, Presented, presented
from vagent.metadata.upstream.target import HostPort, Target

_REQUEST = b"GET / HTTP/1.0\r\nHost: %s\r\nUser-Agent: vagentctl-doctor\r\n\r\n"
"""Nova answers this with the list of its versions, whoever asks."""


def inspect(role: str, cert: Path, key: Path, ca: Path) -> TlsPair:
    """The content of the three files, or the reason why they cannot be used. Never
    raises.
    """
    problem = ""
    chain: list[Certificate] = []
    authorities: list[Certificate] = []
    where = cert
    try:
        chain = load_pem_x509_certificates(cert.read_bytes())
        where = ca
        authorities = load_pem_x509_certificates(ca.read_bytes())
        where = key
        private = load_pem_private_key(key.read_bytes(), None)
        if _public(private.public_key()) != _public(chain[0].public_key()):
            problem = f"{key} is not the key of {cert}"
    except OSError as error:
        problem = f"{where}: {error.strerror}"
    except TypeError:
        problem = f"{where} needs a password; the agent has none"
    except (ValueError, UnsupportedAlgorithm):
        problem = f"{where} does not hold what it should, in PEM"
    return TlsPair(
        role=role,
        cert=str(cert),
        key=str(key),
        ca=str(ca),
        problem=problem,
        subject=chain[0].subject.rfc4514_string() if chain else "",
        valid_from=chain[0].not_valid_before_utc if chain else None,
        valid_until=_end(chain),
        ca_until=_end(authorities),
    )


def try_upstream(target: Target, tls: ClientTls | None, timeout: float) -> Trials:
    """Send one request to each endpoint."""
    trials = []
    for endpoint in target.endpoints:
        name = target.name_of(endpoint)
        context: ssl.SSLContext | None = None
        if tls is not None:
            try:
                context = _context(files_of(tls, endpoint.host, name))
            except (OSError, ssl.SSLError):
                continue  # `inspect` reports what is wrong with the files
        trials.append(_try(endpoint, name, context, timeout))
    return tuple(trials)


Trials = tuple[UpstreamTrial, ...]


def _try(
    endpoint: HostPort, name: str, context: ssl.SSLContext | None, timeout: float
) -> UpstreamTrial:
    where, stage = str(endpoint), "connect"
    try:
        address = (endpoint.host, endpoint.port)
        with socket.create_connection(address, timeout) as plain:
            stage = "tls"
            with _secured(plain, context, name) as connection:
                stage = "reply"
                connection.sendall(_REQUEST % name.encode("idna"))
                said = connection.recv(16)
    except socket.gaierror as error:
        return UpstreamTrial(where, name, "resolve", str(error.strerror))
    except ssl.SSLError as error:
        seen = _presented(endpoint, name, timeout)
        return UpstreamTrial(where, name, "tls", _reason(error, seen))
    except (OSError, UnicodeError) as error:
        return UpstreamTrial(where, name, stage, _plain_reason(error))
    if not said.startswith(b"HTTP/"):
        what = "it closed the connection" if not said else "the answer is not HTTP"
        return UpstreamTrial(where, name, "reply", what)
    return UpstreamTrial(where, name)


def _secured(
    plain: socket.socket, context: ssl.SSLContext | None, name: str
) -> socket.socket:
    if context is None:
        return plain
    return context.wrap_socket(plain, server_hostname=name)


def _context(files: ClientTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(files.ca_cert)
    # With an empty password, OpenSSL does not ask for one on the terminal.
    context.load_cert_chain(files.client_cert, files.client_key, password="")
    return context


def _presented(endpoint: HostPort, name: str, timeout: float) -> Presented:
    """What the endpoint presents in a handshake that trusts everybody; nothing if it
    does not answer.
    """
    address = (endpoint.host, endpoint.port)
    try:
        with socket.create_connection(address, timeout) as plain:

            def talk(data: bytes) -> bytes:
                plain.sendall(data)
                return plain.recv(READ_SIZE)

            return presented(name, talk)
    except (OSError, UnicodeError, ValueError):
        return Presented()


def _reason(error: ssl.SSLError, seen: Presented) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"its certificate is not verified: {why}{seen.shows()}"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason:
        return f"it refused our client certificate or TLS ({reason}){seen.takes()}"
    return f"TLS failed ({reason})"


def _plain_reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # a union of all kinds of keys, of which each has it
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _end(certificates: list[Certificate]) -> datetime | None:
    return deciding(certificates).not_valid_after_utc if certificates else None
