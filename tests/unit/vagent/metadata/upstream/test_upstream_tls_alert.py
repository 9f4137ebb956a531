"""What alerts of a TLS server say of our certificate."""

from __future__ import annotations

import pytest

from vagent.metadata.upstream.tls_alert import in_words, refusal_in

SHOWN = "/etc/vagent/tls/client.pem, CN=agent, valid until 2027-01-01 00:00 UTC"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("tlsv1 alert unknown ca", "authority"),
        ("sslv3 alert certificate expired", "expired"),
        ("ssl/tls alert certificate revoked", "revoked"),
        ("TLS handshake failed: sslv3 alert bad certificate", "verify"),
        ("tlsv13 alert certificate required", "wants one"),
        ("sslv3 alert certificate unknown", "accept"),
        ("sslv3 alert unsupported certificate.", "type"),
        ("TLSV1 alert access denied", "subject"),
        ("tlsv1 alert decrypt error", "same name"),
    ],
)
def test_alerts_about_a_certificate(said: str, why: str) -> None:
    """In the words of several OpenSSLs, from within the handshake or after it: the
    reason, what OpenSSL said, and which certificate it is about.
    """
    assert why in refusal_in(said)
    words = in_words(said, SHOWN)
    assert words.startswith("our client certificate was refused: ")
    assert f"({said})" in words
    assert words.endswith(SHOWN)


@pytest.mark.parametrize(
    "said",
    [
        "tlsv1 alert protocol version",
        "sslv3 alert handshake failure",
        "certificate expired",
        "Connection refused",
        "",
    ],
)
def test_other_words_are_left_as_they_are(said: str) -> None:
    """An alert of another kind, and what is no alert at all."""
    assert "" == refusal_in(said)
    assert said == in_words(said, SHOWN)


def test_no_certificate_is_said_so() -> None:
    """The files could not be read when the server was asked."""
    words = in_words("tlsv13 alert certificate required", "")
    assert words.endswith("none was shown")
