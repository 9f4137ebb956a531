"""Finds out what a server presents in the TLS handshake, whether it is trusted or not,
for people to read.

Python's `ssl` tells nothing about a server that it does not trust, and never which
authorities a server accepts client certificates from; pyOpenSSL tells both. No
certificate of ours is shown and no request is sent. There is no socket here: a function
sends bytes and returns those that come back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cryptography.x509 import Name
from OpenSSL import SSL

Talk = Callable[[bytes], bytes]
"""Sends bytes, possibly none, and returns the next ones that come; empty at the end."""

MAX_TURNS = 16
"""The most calls of `Talk` for one handshake, against a server that sends it in tiny
pieces."""
MAX_AUTHORITIES = 3
"""The most authorities that are listed by name; the rest is counted."""
MAX_NAME = 100
"""The most characters of a name that are shown."""
READ_SIZE = 16_384


@dataclass(frozen=True, slots=True)
class Presented:
    """Subject and issuer of the server's certificate, and the subjects of the
    authorities from which it accepts client certificates.
    """

    subject: str = ""
    issuer: str = ""
    authorities: tuple[str, ...] = ()

    def shows(self) -> str:
        """A clause about its certificate, for a message; "" if it showed none."""
        if not self.subject:
            return ""
        return f"; it shows {self.subject}, issued by {self.issuer}"

    def takes(self) -> str:
        """A clause about client certificates, for a message; "" if it names no
        authority.
        """
        if not self.authorities:
            return ""
        more = len(self.authorities) - MAX_AUTHORITIES
        names = " or ".join(self.authorities[:MAX_AUTHORITIES])
        return f"; it takes those of {names}" + (f" ({more} more)" if more > 0 else "")


def presented(name: str, talk: Talk) -> Presented:
    """What the server of this name presents. Raises what `talk` raises."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    tls = SSL.Connection(context)
    tls.set_tlsext_host_name(name.encode("idna"))
    tls.set_connect_state()
    for _ in range(MAX_TURNS):
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            received = talk(_taken(tls))
            if not received:
                break
            tls.bio_write(received)
        except SSL.Error:
            break  # what the server sent before the failure is enough
        else:
            break
    certificate = tls.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return Presented()
    return Presented(
        _plain(certificate.subject),
        _plain(certificate.issuer),
        tuple(_plain(one) for one in tls.get_client_ca_list(as_cryptography=True)),
    )


def _taken(tls: SSL.Connection) -> bytes:
    with suppress(SSL.WantReadError):
        return tls.bio_read(READ_SIZE)
    return b""


def _plain(name: Name) -> str:
    """The name, shortened and in printable ASCII: the server may be anybody's."""
    return ascii(name.rfc4514_string()[:MAX_NAME])[1:-1]
