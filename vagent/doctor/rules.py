"""Parses nftables' JSON into chains of rules, as far as is needed to follow a packet.

Expressions stay as libnftables-json(5) describes them; `walk` interprets those that it
knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vagent.errors import WireError

Expression = Mapping[str, Any]
Key = tuple[str, str, str]
"""Family, table and name of a chain or set."""

_CHAIN = re.compile(r"^\s*chain (\S+) \{")
_TABLE = re.compile(r"^\s*table (\S+) (\S+) \{")
_DEVICES = re.compile(
    r"hook \w+ devices? = ?\{?([^}]*?)\}? priority|device \"([^\"]+)\""
)
_QUOTED = re.compile(r'"?([^\s",]+)"?')


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `handle` is its number in nft, 0 if the rule is not nftables'."""

    handle: int
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain. A base chain has a hook, a priority and a policy; in others these are
    "". `devices` are the interfaces of a netdev chain, () if they are not known.
    """

    family: str
    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = ""
    devices: tuple[str, ...] = ()
    tool: str = "nft"

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All chains of a host, its named sets by (family, table, name), and its tables by
    (family, name).
    """

    chains: tuple[Chain, ...] = ()
    sets: Mapping[Key, list[Any]] = field(default_factory=dict)
    tables: frozenset[tuple[str, str]] = frozenset()


def parse_ruleset(text: str, devices: Mapping[Key, tuple[str, ...]]) -> Ruleset:
    """Parse what `nft -j list ruleset` printed. Raises WireError if it is something
    else.
    """
    try:
        items = json.loads(text)["nftables"]
        rules: dict[Key, list[Rule]] = {}
        for raw in _all(items, "rule"):
            key = (raw["family"], raw["table"], raw["chain"])
            rule = Rule(raw["handle"], tuple(raw["expr"]))
            rules.setdefault(key, []).append(rule)
        return Ruleset(
            tuple(_chain(raw, rules, devices) for raw in _all(items, "chain")),
            {
                (raw["family"], raw["table"], raw["name"]): raw.get("elem", [])
                for raw in _all(items, "set")
            },
            frozenset((raw["family"], raw["name"]) for raw in _all(items, "table")),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"nft's JSON has an unexpected form: {error!r}") from error


def parse_devices(text: str) -> dict[Key, tuple[str, ...]]:
    """The interfaces of netdev chains, from `nft list ruleset`: nft 1.0.6 leaves them
    out of its JSON.
    """
    found: dict[Key, tuple[str, ...]] = {}
    family = table = chain = ""
    for line in text.splitlines():
        if match := _TABLE.match(line):
            family, table = match.groups()
        elif match := _CHAIN.match(line):
            chain = match[1]
        elif " hook " in line and (match := _DEVICES.search(line)):
            names = match[2] or match[1]
            found[family, table, chain] = tuple(_QUOTED.findall(names))
    return found


def _all(items: list[Any], kind: str) -> list[Mapping[str, Any]]:
    return [item[kind] for item in items if kind in item]


def _chain(
    raw: Mapping[str, Any],
    by_chain: Mapping[Key, list[Rule]],
    devices: Mapping[Key, tuple[str, ...]],
) -> Chain:
    key = (raw["family"], raw["table"], raw["name"])
    return Chain(
        *key,
        rules=tuple(by_chain.get(key, ())),
        hook=raw.get("hook", ""),
        kind=raw.get("type", ""),
        priority=raw.get("prio", 0),
        policy=raw.get("policy", ""),
        devices=tuple(_devices(raw)) or devices.get(key, ()),
        tool=_tool(*key),
    )


def _devices(raw: Mapping[str, Any]) -> Iterator[str]:
    given = raw.get("dev", ())
    yield from (given,) if isinstance(given, str) else given


def _tool(family: str, table: str, chain: str) -> str:
    """The program that manages this chain. iptables-nft's tables have fixed names, and
    its base chains have names in capital letters.
    """
    fixed = table in ("filter", "nat", "mangle", "raw", "security")
    return "iptables" if family == "ip" and fixed and chain.isupper() else "nft"
