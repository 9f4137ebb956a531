"""What a server presents in the TLS handshake, trusted or not: for people to read.

Python's `ssl` tells nothing of a server that it does not trust, and never whose
certificates a server takes; pyOpenSSL tells both. No certificate of ours is shown and
nothing is sent. Refuses to know sockets: bytes go out and come in by a function.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cryptography.x509 import Name
from OpenSSL import SSL

Talk = Callable[[bytes], bytes]
"""Sends bytes, possibly none, and gives the next ones; none are the end."""

MAX_TURNS = 16
"""Calls of `Talk`: a server that says more before its handshake is complete drips."""
MAX_AUTHORITIES = 3
"""Names that are told; what is beyond is counted."""
MAX_NAME = 100
"""Characters of a name that are told."""
READ_SIZE = 16_384


@dataclass(frozen=True, slots=True)
class Presented:
    """Subject and issuer of the server's certificate, and the subjects of the
    authorities whose client certificates it says that it takes.
    """

    subject: str = ""
    issuer: str = ""
    authorities: tuple[str, ...] = ()

    def shows(self) -> str:
        """A clause about its certificate; "" where it showed none."""
        if not self.subject:
            return ""
        return f"; it shows {self.subject}, issued by {self.issuer}"

    def takes(self) -> str:
        """A clause about client certificates; "" where it names no authority."""
        if not self.authorities:
            return ""
        more = len(self.authorities) - MAX_AUTHORITIES
        names = " or ".join(self.authorities[:MAX_AUTHORITIES])
        return f"; it takes those of {names}" + (f" ({more} more)" if more > 0 else "")


def presented(name: str, talk: Talk) -> Presented:
    """A handshake with the server of this name. Raises what `talk` does."""
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
            break  # what it said before that is all that is wanted
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
    """Cut, and printable ASCII: the server may be anybody."""
    return ascii(name.rfc4514_string()[:MAX_NAME])[1:-1]
