"""Parses `iptables-legacy-save` into chains of rules like nftables' own. Pure.

Only options that the checks can judge are translated. Every other option becomes a
match of which it is unknown whether it holds.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from vagent.doctor.rules import Chain, Expression, Rule, Ruleset

_POLICY = re.compile(r"^:(\S+) (ACCEPT|DROP|-)")
_HOOKS = {name.upper(): name for name in
          ("prerouting", "input", "forward", "output", "postrouting")}  # fmt: skip
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_FIELDS: dict[str, Any] = {
    "-i": {"meta": {"key": "iifname"}},
    "-o": {"meta": {"key": "oifname"}},
    "-s": {"payload": {"protocol": "ip", "field": "saddr"}},
    "-d": {"payload": {"protocol": "ip", "field": "daddr"}},
    "-p": {"meta": {"key": "l4proto"}},
    "--dport": {"payload": {"protocol": "tcp", "field": "dport"}},
    "--sport": {"payload": {"protocol": "tcp", "field": "sport"}},
    "--ctstate": {"ct": {"key": "state"}},
    "--state": {"ct": {"key": "state"}},
}
_KNOWN_MATCHES = frozenset({"tcp", "conntrack", "state", "comment"})
_SILENT = frozenset({"--comment", "--reject-with"})
_ENDS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_BLOCKING = frozenset({"NFQUEUE", "NOTRACK", "TPROXY", "REDIRECT", "DNAT"})
_HARMLESS = frozenset({"LOG", "MARK", "CONNMARK", "MASQUERADE", "SNAT", "TCPMSS", "CT"})
_UNKNOWN: Expression = {"xt": {"type": "match", "name": "?"}}


def parse_save(text: str) -> Ruleset:
    """All tables in the output; lines of another form are left out."""
    chains: list[Chain] = []
    rules: dict[tuple[str, str], list[Rule]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif match := _POLICY.match(line):
            chains.append(_chain(table, match[1], match[2]))
        elif line.startswith("-A "):
            name, _, rest = line[3:].partition(" ")
            rules.setdefault((table, name), []).append(Rule(0, _expressions(rest)))
    return Ruleset(tuple(_with_rules(chain, rules) for chain in chains))


def _chain(table: str, name: str, policy: str) -> Chain:
    hook = _HOOKS.get(name, "") if policy != "-" else ""
    return Chain(
        "ip",
        table,
        name,
        hook=hook,
        priority=_PRIORITIES.get(table, 0),
        policy=policy.lower() if hook else "",
        tool="iptables-legacy",
    )


def _with_rules(chain: Chain, rules: dict[tuple[str, str], list[Rule]]) -> Chain:
    return Chain(
        chain.family,
        chain.table,
        chain.name,
        tuple(rules.get((chain.table, chain.name), ())),
        hook=chain.hook,
        priority=chain.priority,
        policy=chain.policy,
        tool=chain.tool,
    )


def _expressions(text: str) -> tuple[Expression, ...]:
    try:
        words = iter(shlex.split(text))
    except ValueError:
        return (_UNKNOWN,)
    found: list[Expression] = []
    operator = "=="
    for word in words:
        if word == "!":
            operator = "!="
        elif word in ("-j", "-g"):
            found.append(_target(next(words, ""), word))
        elif word == "-m":
            found += [] if next(words, "") in _KNOWN_MATCHES else [_UNKNOWN]
        elif word in _FIELDS:
            found.append(_match(word, operator, next(words, "")))
            operator = "=="
        elif word in _SILENT:
            next(words, "")
    return tuple(found)


def _match(option: str, operator: str, value: str) -> Expression:
    right: Any = value
    if option == "-p":
        right = {"tcp": "tcp", "6": "tcp"}.get(value, value)
    elif option in ("--dport", "--sport"):
        low, _, high = value.partition(":")
        right = int(low) if not high else {"range": [int(low or 0), int(high)]}
    elif option in ("--ctstate", "--state"):
        right = {"set": [state.lower() for state in value.split(",")]}
    elif option in ("-i", "-o"):
        right = f"{value[:-1]}*" if value.endswith("+") else value
    return {"match": {"op": operator, "left": _FIELDS[option], "right": right}}


def _target(name: str, how: str) -> Expression:
    if name in _ENDS:
        return {_ENDS[name]: None}
    if name in _BLOCKING:
        return {"xt": {"type": "target", "name": name}}
    if name in _HARMLESS:
        return {"counter": None}
    return {"goto" if how == "-g" else "jump": {"target": name}}
