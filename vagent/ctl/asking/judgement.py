"""What a refusal means, and which header is at fault; where one answer does not tell,
more is asked. Pure but for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vagent.ctl.asking.exchange import GivenAnswer
from vagent.ctl.asking.question import AskedQuestion
from vagent.metadata.upstream.refusal import (
    RefusalKind,
    UpstreamRefusal,
    read_refusal,
)

KNOWN_PATH = "/openstack"
"""A path that every instance has, in every release of Nova."""

AskAgain = Callable[[AskedQuestion], GivenAnswer]


def judged(
    question: AskedQuestion, answer: GivenAnswer, again: AskAgain
) -> UpstreamRefusal | None:
    """What the answer means; None where it is no error. Raises VagentError when a
    further question is not answered.
    """
    refusal = read_refusal(answer.status, answer.body, question.path.encode())
    if refusal is None:
        return None
    if refusal.kind is RefusalKind.NO_SUCH_PATH:
        known = question.at(KNOWN_PATH)
        reply = again(known)
        unknown = read_refusal(reply.status, reply.body, KNOWN_PATH.encode())
        if unknown is None:
            return replace(
                refusal,
                text=f"no header is at fault: {KNOWN_PATH} is answered, so instance,"
                " tenant and signature are right; the instance has nothing at"
                f" {question.path}",
                remedy="look into the listing above it",
            )
        refusal = unknown
    if refusal.kind is RefusalKind.UNKNOWN_INSTANCE:
        return _with_tenant(question.at(KNOWN_PATH), refusal, again)
    if refusal.kind is RefusalKind.SIGNATURE and not question.secret.value:
        return replace(refusal, remedy=f"agent.conf has no secret; {refusal.remedy}")
    return refusal


def _with_tenant(
    question: AskedQuestion, refusal: UpstreamRefusal, again: AskAgain
) -> UpstreamRefusal:
    """Is it known with another form of the tenant?"""
    for other in question.with_other_tenants():
        if again(other).status < 400:
            return replace(
                refusal,
                header="X-Tenant-ID",
                text=f"the instance is known with X-Tenant-ID {other.tenant_id}: Nova"
                " compares it letter for letter",
                remedy=f"use {other.tenant_id} for --tenant, here and of the port",
            )
    return refusal
