"""Which header is at fault, for each refusal of Nova."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from vagent.config.model import Secret
from vagent.ctl.asking.exchange import GivenAnswer
from vagent.ctl.asking.judgement import KNOWN_PATH, judged
from vagent.ctl.asking.question import AskedQuestion
from vagent.metadata.upstream.refusal import RefusalKind, UpstreamRefusal

TENANT = "28a490a0f8b28800181ce490a74df8d2"
DASHED = "28a490a0-f8b2-8800-181c-e490a74df8d2"
QUESTION = AskedQuestion("/latest/meta-data/", "i", TENANT, Secret(b"secret"))
NOT_FOUND = b"404 Not Found\n\nThe resource could not be found.\n\n   "


def answer(status: int, body: bytes = b"") -> GivenAnswer:
    return GivenAnswer(status, "", (), body)


def nova(tenant: str, paths: tuple[str, ...]) -> Callable[..., GivenAnswer]:
    """Knows one tenant and some paths."""

    def ask(question: AskedQuestion) -> GivenAnswer:
        known = question.tenant_id == tenant and question.path in paths
        return answer(200) if known else answer(404, NOT_FOUND)

    return ask


def judge(question: AskedQuestion, ask: Callable[..., GivenAnswer]) -> UpstreamRefusal:
    found = judged(question, ask(question), ask)
    assert found is not None
    return found


def test_an_answer_is_no_refusal() -> None:
    """And nothing more is asked."""
    assert judged(QUESTION, answer(200), nova("", ())) is None


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("X-Instance-ID", 400, b"X-Instance-ID header is missing from request."),
        (
            "X-Instance-ID-Signature",
            400,
            b"X-Instance-ID-Signature header is missing from request.",
        ),
        ("X-Tenant-ID", 400, b"X-Tenant-ID header is missing from request."),
        ("X-Instance-ID-Signature", 403, b"Invalid proxy request signature."),
    ],
)
def test_nova_names_it(header: str, status: int, body: bytes) -> None:
    """One answer tells, and nothing more is asked."""
    found = judge(QUESTION, lambda _question: answer(status, body))
    assert header == found.header
    assert found.text


def test_no_secret_at_all() -> None:
    """The remedy begins with what is missing here."""
    asked = replace(QUESTION, secret=Secret(b""))
    body = b"Invalid proxy request signature."
    found = judge(asked, lambda _question: answer(403, body))
    assert found.remedy.startswith("agent.conf has no secret; put the value of")


@pytest.mark.parametrize("path", ["/latest/meta-data/", "/latest/user-data"])
@pytest.mark.parametrize(("asked", "held"), [(TENANT, DASHED), (DASHED, TENANT)])
def test_a_tenant_in_another_form(path: str, asked: str, held: str) -> None:
    """It is at fault for certain, and the right one is named."""
    question = replace(QUESTION, path=path, tenant_id=asked)
    found = judge(question, nova(held, (KNOWN_PATH, path)))
    assert "X-Tenant-ID" == found.header
    assert held in found.text
    assert held in found.remedy


@pytest.mark.parametrize("path", ["/latest/meta-data/", "/latest/user-data"])
def test_an_unknown_instance(path: str) -> None:
    """Nova does not tell an unknown instance from another tenant's."""
    found = judge(replace(QUESTION, path=path), nova("other", (KNOWN_PATH,)))
    assert "X-Instance-ID or X-Tenant-ID" == found.header
    assert RefusalKind.UNKNOWN_INSTANCE is found.kind


def test_a_path_that_is_not_there() -> None:
    """No header is at fault."""
    question = replace(QUESTION, path="/latest/user-data")
    found = judge(question, nova(TENANT, (KNOWN_PATH,)))
    assert (RefusalKind.NO_SUCH_PATH, "") == (found.kind, found.header)
    assert "no header is at fault" in found.text
