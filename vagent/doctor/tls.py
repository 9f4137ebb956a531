"""Inspects the TLS files, and tries the upstream with them as a client of its own.

It uses plain `ssl` and not the agent's connection code, as a second opinion. Each
endpoint is asked twice: without identity headers, which every nova-api answers; and
signed as the agent signs, for a registered port or for an instance that nobody has.
Only the beginning of a reply is looked at.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates

from vagent.certificates.expiry import deciding
from vagent.certificates.per_endpoint import files_of
from vagent.config.model import ClientTls, Secret
from vagent.doctor.facts import PortFact, TlsPair, UpstreamTrial
from vagent.doctor.presented import READ_SIZE, Presented, presented
from vagent.errors import UpstreamError
from vagent.metadata.guest.identity_headers import identity_headers
from vagent.metadata.upstream.refusal import (
    RefusalKind,
    UpstreamRefusal,
    read_refusal,
)
from vagent.metadata.upstream.target import HostPort, Target
from vagent.ports.port import Port

_REQUEST = b"GET %b HTTP/1.0\r\nHost: %b\r\nUser-Agent: vagentctl-doctor\r\n%b\r\n"
_ROOT = b"/"
"""Nova answers this with the list of its versions, whoever asks."""
_SIGNED_PATH = b"/openstack"
"""A list that every instance has. Nova looks at the signature before it looks up the
instance, so for an instance that it does not have 404 says that the secret is right."""
_NOBODY = "00000000000000000000000000000000"
_MAX_REPLY = 8192
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])[ \r]")


@dataclass(frozen=True, slots=True)
class SignedQuestion:
    """Identity headers, and the port that they are for; None for a made-up instance."""

    headers: bytes
    port: PortFact | None


def question_for(secret: Secret, ports: Iterable[PortFact]) -> SignedQuestion:
    """What to ask each endpoint: as the guest of an active port would be asked for, if
    there is one.
    """
    for fact in ports:
        if fact.state == "Active" and fact.instance and fact.tenant:
            with suppress(UpstreamError, UnicodeError):
                port = _port(fact.id, fact.instance, fact.tenant)
                headers = identity_headers(secret, port, fact.address or "0.0.0.0")  # noqa: S104  as the agent writes it
                return SignedQuestion(headers, fact)
    made_up = _port("", str(uuid4()), _NOBODY)
    return SignedQuestion(identity_headers(secret, made_up, "169.254.0.1"), None)


def _port(port_id: str, instance: str, tenant: str) -> Port:
    return Port(port_id, instance, tenant, "", "", "", "", None, None)


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


def try_upstream(
    target: Target, tls: ClientTls | None, timeout: float, question: SignedQuestion
) -> Trials:
    """Ask each endpoint."""
    trials = []
    for endpoint in target.endpoints:
        name = target.name_of(endpoint)
        context: ssl.SSLContext | None = None
        if tls is not None:
            try:
                context = _context(files_of(tls, endpoint.host, name))
            except (OSError, ssl.SSLError):
                continue  # `inspect` reports what is wrong with the files
        trial = _try(endpoint, name, context, timeout)
        if not trial.failed:
            trial = _ask_signed(trial, endpoint, context, timeout, question)
        trials.append(trial)
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
                _send(connection, _REQUEST % (_ROOT, name.encode("idna"), b""))
                said = connection.recv(_MAX_REPLY)
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


def _ask_signed(
    trial: UpstreamTrial,
    endpoint: HostPort,
    context: ssl.SSLContext | None,
    timeout: float,
    question: SignedQuestion,
) -> UpstreamTrial:
    """The same trial, with what an error to the signed request means."""
    host = trial.name.encode("idna")
    request = _REQUEST % (_SIGNED_PATH, host, question.headers)
    said = b""
    try:
        address = (endpoint.host, endpoint.port)
        with (
            socket.create_connection(address, timeout) as plain,
            _secured(plain, context, trial.name) as connection,
        ):
            _send(connection, request)
            while len(said) < _MAX_REPLY and (piece := connection.recv(_MAX_REPLY)):
                said += piece
    except OSError as error:
        if not said:
            what = f"a signed request: {_plain_reason(error)}"
            return replace(trial, failed="reply", said=what)
    return replace(trial, refused=_refusal(said, question), asked_for=question.port)


def _send(connection: socket.socket, request: bytes) -> None:
    """A server that refuses our certificate may have hung up already: with TLS 1.3 that
    comes after the handshake. Its alert, which says why, can still be read.
    """
    try:
        connection.sendall(request)
    except (ssl.SSLEOFError, ConnectionError):
        connection.recv(1)
        raise


def _refusal(said: bytes, question: SignedQuestion) -> UpstreamRefusal | None:
    """What the reply refuses. That a made-up instance is unknown is as it should be."""
    status = _STATUS.match(said)
    if status is None:
        return None
    body = said.partition(b"\r\n\r\n")[2]
    refusal = read_refusal(int(status[1]), body, _SIGNED_PATH)
    if refusal is None or not refusal.is_setup_fault:
        return None
    if question.port is None and refusal.kind is RefusalKind.UNKNOWN_INSTANCE:
        return None
    return refusal


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
