"""What a TLS alert of the server says of our client certificate. Pure.

OpenSSL names alerts in its own words (`sslv3 alert certificate expired`); the meanings
are those of RFC 8446 §6.2.
"""

from __future__ import annotations

_MEANINGS = {
    "bad certificate": "the server cannot verify it",
    "unsupported certificate": "the server does not take certificates of this type",
    "certificate revoked": "it is revoked",
    "certificate expired": "it has expired, or is not valid yet",
    "certificate unknown": "the server does not accept it",
    "unknown ca": "the server does not trust the authority that issued it",
    "access denied": "the server does not let its subject in",
    "decrypt error": "the server cannot verify its signature; an authority of the same"
    " name as the server's may have issued it",
    "certificate required": "the server wants one, and took this for none",
}


def refusal_in(said: str) -> str:
    """Why our certificate was refused; "" where these words of OpenSSL are no alert, or
    one that is not about a certificate.
    """
    _, is_alert, alert = said.lower().rstrip(".").rpartition(" alert ")
    return _MEANINGS.get(alert, "") if is_alert else ""


def in_words(said: str, certificate: str) -> str:
    """What to tell of a connection that ended with these words of OpenSSL, while this
    certificate was shown.
    """
    why = refusal_in(said)
    if not why:
        return said
    shown = certificate or "none was shown"
    return f"our client certificate was refused: {why} ({said}): {shown}"
