"""What an error of the upstream means: which side is set up wrongly, and what mends it.

The texts are those of nova-api (nova/api/metadata/handler.py; they have been the same
since its first releases) and of the embedded server, which has them from there. Nova
checks in this order: headers present, signature, instance, tenant, path. So 403 with
its text means that the signature is wrong whatever the instance, and 404 that the
signature is right. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

MAX_LOOKED_AT = 1024
"""Bytes of a body that are looked at. Nova's error pages have 200 at most."""

SIGNATURE_HEADER = "X-Instance-ID-Signature"


class RefusalKind(Enum):
    """What an error means; the value is a word for counters and for programs."""

    SIGNATURE = "signature-refused"
    """Nova computed another signature: the shared secrets differ."""
    NO_HEADER = "header-missing"
    """Nova did not get a header that the agent always sends."""
    LOAD_BALANCER = "taken-for-load-balancer"
    """Nova got the header X-Metadata-Provider, which the agent never sends."""
    UNKNOWN_INSTANCE = "instance-unknown"
    """404 for a path that every instance has: the instance or its tenant is wrong."""
    NO_SUCH_PATH = "no-such-path"
    """404 for a path that an instance need not have: an answer, nothing is wrong."""
    CLIENT_CERTIFICATE = "client-certificate-refused"
    """A web server said so over HTTP, as nginx does."""
    NEEDS_TLS = "tls-expected"
    """The endpoint speaks TLS, and was spoken to without."""
    FORBIDDEN = "forbidden"
    """401 or 403 that is not Nova's: a web server in front allows others only."""
    NOT_NOVA = "not-nova"
    """404 in words that are not Nova's, for a path that every instance has."""
    FAILED = "nova-failed"
    """500: nova-api itself failed."""
    UNAVAILABLE = "nova-unavailable"
    """502, 503, 504: a web server in front does not reach nova-api, or Nova is
    overloaded."""
    OTHER = "refused"
    """Any other status: an answer to what the guest asked."""


@dataclass(frozen=True, slots=True)
class UpstreamRefusal:
    """What an error (400 and above) of the upstream means.

    `header` is the request header at fault, "" where none is. `text` says what is wrong
    and `remedy` what to do about it; both are "" where nothing is wrong.
    """

    kind: RefusalKind
    status: int
    header: str = ""
    text: str = ""
    remedy: str = ""

    @property
    def is_setup_fault(self) -> bool:
        """Is something set up wrongly, or broken, rather than asked wrongly?"""
        return bool(self.text)


SIGNATURE_REMEDY = (
    "put the value of metadata_proxy_shared_secret ([neutron] in nova.conf) into"
    " <shared-secret> of agent.conf and restart the agent; nova-api must have been"
    " restarted since its value was changed"
)
INSTANCE_REMEDY = (
    "compare instance and tenant of the port (vagentctl port show) with Nova's"
    " (openstack server show; of the embedded server: vagentctl instance list), and"
    " register it again; if they are right, look whether nova.conf has"
    " service_metadata_proxy = true"
)
CERTIFICATE_REMEDY = (
    "have <client-cert> issued by an authority that the server accepts, and look at its"
    " dates and at the server's revocation list (vagentctl doctor shows both sides)"
)

_EXISTS = re.compile(
    rb"/+(?:openstack(?:/+(?:latest|2012-08-10|2013-04-04|2013-10-17|2015-10-15)"
    rb"(?:/+meta_data\.json)?)?"
    rb"|(?:ec2/+)?(?:latest|2009-04-04)"
    rb"(?:/+meta-data(?:/+(?:ami-id|hostname|instance-id|local-hostname))?)?"
    rb")/*(?:\?.*)?",
    re.DOTALL,
)
_MISSING = re.compile(rb"(X-[A-Za-z-]{1,40}) header is missing from request")
_PROVIDER = re.compile(
    rb"X-Forwarded-For is missing from request"
    rb"|Expected a single port matching provider"
    rb"|Could not find any subnets for provider"
)
_CERTIFICATE = re.compile(
    rb"No required SSL certificate was sent|The SSL certificate error", re.IGNORECASE
)
_NEEDS_TLS = re.compile(
    rb"plain HTTP request was sent to HTTPS port"
    rb"|speaking plain HTTP to an SSL-enabled server port",
    re.IGNORECASE,
)


def is_signed_for(path: bytes) -> bool:
    """Does an answer to this path prove anything of signature and instance? Nova and
    the embedded server answer the root without looking at a header.
    """
    return bool(path.partition(b"?")[0].strip(b"/"))


def exists_for_all(path: bytes) -> bool:
    """Is this a path that every instance has, in every release of Nova?"""
    return _EXISTS.fullmatch(path) is not None


def read_refusal(status: int, body: bytes, path: bytes) -> UpstreamRefusal | None:
    """What this reply means; None where it is no error (below 400).

    `body` may be only the beginning of it, and is empty after HEAD. `path` is what was
    asked for, as it went upstream.
    """
    if status < 400:
        return None
    read = _READERS.get(status)
    if read is None:
        return UpstreamRefusal(RefusalKind.OTHER, status)
    return read(status, body[:MAX_LOOKED_AT], path)


def _bad_request(status: int, body: bytes, path: bytes) -> UpstreamRefusal:
    del path
    missing = _MISSING.search(body)
    if missing is not None:
        header = missing[1].decode("ascii")
        return UpstreamRefusal(
            RefusalKind.NO_HEADER,
            status,
            header,
            f"nova-api did not get the header {header}, which the agent always sends",
            f"a web server between agent and nova-api removes {header}: let it pass",
        )
    if _PROVIDER.search(body):
        header = "X-Metadata-Provider"
        return UpstreamRefusal(
            RefusalKind.LOAD_BALANCER,
            status,
            header,
            f"nova-api got the header {header}, which the agent never sends, and takes"
            " the agent for a load balancer of NSX",
            f"a web server between agent and nova-api adds {header}: have it removed",
        )
    if _CERTIFICATE.search(body):
        return _certificate(status)
    if _NEEDS_TLS.search(body):
        return UpstreamRefusal(
            RefusalKind.NEEDS_TLS,
            status,
            text="the endpoint expects TLS, and the agent speaks plain HTTP to it",
            remedy="set <use-ssl>true</use-ssl> in agent.conf, or provision the plain"
            " port of the endpoint",
        )
    return UpstreamRefusal(RefusalKind.OTHER, status)


def _certificate(status: int) -> UpstreamRefusal:
    return UpstreamRefusal(
        RefusalKind.CLIENT_CERTIFICATE,
        status,
        text="the web server in front of nova-api refused our client certificate",
        remedy=CERTIFICATE_REMEDY,
    )


def _forbidden(status: int, body: bytes, path: bytes) -> UpstreamRefusal:
    del path
    if b"Invalid proxy request signature" in body:
        return UpstreamRefusal(
            RefusalKind.SIGNATURE,
            status,
            SIGNATURE_HEADER,
            "nova-api refused our signature: the shared secrets differ",
            SIGNATURE_REMEDY,
        )
    return UpstreamRefusal(
        RefusalKind.FORBIDDEN,
        status,
        text=f"{status} not in nova-api's words: a web server in front of it, or"
        " another service at this address, refuses this host",
        remedy="look at the access rules and the log of the web server at the endpoint",
    )


def _not_found(status: int, body: bytes, path: bytes) -> UpstreamRefusal:
    if not exists_for_all(path):
        return UpstreamRefusal(RefusalKind.NO_SUCH_PATH, status)
    if body and b"The resource could not be found" not in body:
        return UpstreamRefusal(
            RefusalKind.NOT_NOVA,
            status,
            text="404 not in nova-api's words for a document that every instance has:"
            " something else than nova-api's metadata service answers here",
            remedy="look which service listens at the endpoint; nova-api's metadata"
            " service has port 8775 (vagentctl service list shows what is provisioned)",
        )
    return UpstreamRefusal(
        RefusalKind.UNKNOWN_INSTANCE,
        status,
        "X-Instance-ID or X-Tenant-ID",
        "nova-api does not know this instance with this tenant",
        INSTANCE_REMEDY,
    )


def _failed(status: int, body: bytes, path: bytes) -> UpstreamRefusal:
    del body, path
    return UpstreamRefusal(
        RefusalKind.FAILED,
        status,
        text="nova-api failed to answer (its database, or Neutron, may be away)",
        remedy="look into nova-api's log on the endpoint (of the embedded server: the"
        " agent's own log)",
    )


def _unavailable(status: int, body: bytes, path: bytes) -> UpstreamRefusal:
    del body, path
    return UpstreamRefusal(
        RefusalKind.UNAVAILABLE,
        status,
        text=f"the endpoint answers {status}: the web server there does not reach"
        " nova-api, or has too much to do",
        remedy="look whether nova-api runs behind the endpoint, and into the log of the"
        " web server in front of it",
    )


_READERS: dict[int, Callable[[int, bytes, bytes], UpstreamRefusal]] = {
    400: _bad_request,
    401: _forbidden,
    403: _forbidden,
    404: _not_found,
    500: _failed,
    502: _unavailable,
    503: _unavailable,
    504: _unavailable,
}
