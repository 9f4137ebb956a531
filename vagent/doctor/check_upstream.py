"""Checks of the TLS files and of the endpoints of the metadata service. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from vagent.certificates.expiry import SOON
from vagent.doctor.facts import HostFacts, TlsPair, UpstreamTrial
from vagent.doctor.finding import Finding, warning, wrong
from vagent.judgements.judgement import SubjectKind
from vagent.metadata.upstream.refusal import RefusalKind, UpstreamRefusal

_SHOW = "openssl x509 -noout -subject -issuer -dates -in"


def check_tls_files(facts: HostFacts) -> Iterator[Finding]:
    """Can the TLS files be used, and when do their certificates end?"""
    for pair in facts.tls:
        if pair.problem:
            yield wrong(
                f"TLS files of the {pair.role}: {pair.problem}",
                "no connection is made with them; requests wait and then fail",
                f"{_SHOW} {pair.cert}; openssl pkey -noout -check -in {pair.key}",
            )
        yield from _dates(pair.cert, pair.valid_until, facts.now, pair)
        yield from _dates(pair.ca, pair.ca_until, facts.now, pair)


def _dates(
    path: str, until: datetime | None, now: datetime, pair: TlsPair
) -> Iterator[Finding]:
    if until is None or until > now + SOON:
        return
    when = f"{until:%Y-%m-%d %H:%M} UTC"
    if until <= now:
        yield wrong(
            f"{path} expired on {when} ({pair.role})",
            "the other side refuses it: guests get 503",
            f"{_SHOW} {path}  # then put a new one there; no restart is needed",
        )
        return
    yield warning(
        f"{path} expires on {when} ({pair.role})",
        "from then on guests get 503",
        f"{_SHOW} {path}  # then put a new one there; no restart is needed",
    )


def check_upstream(facts: HostFacts) -> Iterator[Finding]:
    """Does each endpoint of the metadata service answer? As long as one does, guests
    are served.
    """
    failed = [trial for trial in facts.upstream if trial.failed]
    severity = warning if len(failed) < len(facts.upstream) else wrong
    for trial in failed:
        yield severity(*_explain(trial, facts))
    for trial in facts.upstream:
        if trial.refused is not None:
            yield _refused(trial, trial.refused, facts)


def check_judgements(facts: HostFacts) -> Iterator[Finding]:
    """What does the agent itself say is wrong? What was just found out without it is
    not repeated.
    """
    known = {
        name
        for trial in facts.upstream
        if trial.failed or trial.refused is not None
        for name in (trial.endpoint, trial.asked_for.id if trial.asked_for else "")
    }
    for one in facts.agent.judgements:
        if one.subject.id in known:
            continue
        mend = "vagentctl status; vagentctl trace Metadata | tail"
        if one.subject.kind is SubjectKind.PORT:
            mend = f"vagentctl explain --port {one.subject.id}"
        elif one.subject.kind is SubjectKind.HOST:
            mend = "vagentctl port list; ip -brief link"
        yield Finding(one.severity, f"{one.subject}: {one.text}", one.remedy, mend)


def _refused(
    trial: UpstreamTrial, refusal: UpstreamRefusal, facts: HostFacts
) -> Finding:
    what = f"metadata endpoint {trial.endpoint}: {refusal.text} ({refusal.status})"
    port = trial.asked_for
    if refusal.kind is RefusalKind.UNKNOWN_INSTANCE and port is not None:
        return wrong(
            f"{what}, port {port.name or port.id}: instance {port.instance}, tenant"
            f" {port.tenant}",
            f"its guest gets 404; {refusal.remedy}",
            f"vagentctl port show {port.id}; openstack server show {port.instance}",
        )
    mend = _MENDS.get(refusal.kind)
    if mend is None:
        host, _, number = trial.endpoint.rpartition(":")
        mend = f"ss -ltnp 'sport = :{number}'  # on {host}"
    means = f"guests get {refusal.status}; {refusal.remedy}"
    tls = _files_for(trial, facts)
    return wrong(what, means, mend.format(cert=tls.cert if tls else "CERTIFICATE"))


_MENDS = {
    RefusalKind.SIGNATURE: "openstack-config --get /etc/nova/nova.conf neutron"
    " metadata_proxy_shared_secret  # put it into <shared-secret>",
    RefusalKind.CLIENT_CERTIFICATE: _SHOW + " {cert}",
}


def _files_for(trial: UpstreamTrial, facts: HostFacts) -> TlsPair | None:
    """The TLS files that are used for this endpoint."""
    host = trial.endpoint.rpartition(":")[0]
    roles = (role_of(host.strip("[]")), role_of(trial.name), role_of(""))
    pairs = {pair.role: pair for pair in facts.tls}
    return next((pairs[role] for role in roles if role in pairs), None)


def role_of(endpoint: str) -> str:
    """The name under which an endpoint's own TLS files are reported; "" stands for the
    files of all other endpoints.
    """
    return f"metadata proxy, endpoint {endpoint}" if endpoint else "metadata proxy"


def _explain(trial: UpstreamTrial, facts: HostFacts) -> tuple[str, str, str]:
    host, _, port = trial.endpoint.rpartition(":")
    what = f"metadata endpoint {trial.endpoint}: {trial.said}"
    tls = _files_for(trial, facts)
    match trial.failed:
        case "resolve":
            means = f"the name {trial.name} leads nowhere; guests get 503"
            return what, means, f"getent ahosts {trial.name}"
        case "connect":
            means = "nova-api does not run there, or a firewall is between; guests"
            return what, f"{means} get 503", f"ss -ltnp 'sport = :{port}'  # on {host}"
        case "tls" if "refused our client certificate" in trial.said and tls:
            until = tls.valid_until
            ends = f", valid until {until:%Y-%m-%d %H:%M} UTC" if until else ""
            means = f"ours is {tls.cert} ({tls.subject}{ends}); guests get 503"
            return what, means, f"{_SHOW} {tls.cert}"
        case "tls":
            means = "no verified connection, so nothing is sent; guests get 503"
            ca = tls.ca if tls else "CA"
            show = f"openssl s_client -connect {trial.endpoint} -CAfile {ca}"
            return what, means, f"{show} -servername {trial.name} </dev/null"
        case _:
            means = "it accepts connections, and then does not speak HTTP"
            scheme = "https" if tls else "http"
            return what, means, f"curl -vk {scheme}://{trial.endpoint}/"
