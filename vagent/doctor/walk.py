"""Follows a packet, of which some fields are known, through a chain of rules. Pure.

A match holds, does not hold, or it is unknown whether it holds. So a drop is either
certain or possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Any

from vagent.doctor.rules import Chain, Expression, Rule, Ruleset

Value = str | int | IPv4Network
Packet = Mapping[str, Value]
"""The known fields of a packet: `meta iifname`, `ip saddr`, `tcp dport`, `ct state` … A
network stands for some address in it."""

MAX_DEPTH = 16
"""Jumps in a row: the kernel's own NFT_JUMP_STACK_SIZE."""
_BLOCKING = {
    "drop": "drops",
    "reject": "rejects",
    "notrack": "takes out of connection tracking",
    "queue": "queues to another program",
    "tproxy": "redirects",
    "redirect": "redirects",
    "dnat": "sends elsewhere",
}
_XT_BLOCKING = {
    "REJECT": _BLOCKING["reject"],
    "NOTRACK": _BLOCKING["notrack"],
    "NFQUEUE": _BLOCKING["queue"],
    "TPROXY": _BLOCKING["tproxy"],
    "REDIRECT": _BLOCKING["redirect"],
    "DNAT": _BLOCKING["dnat"],
}
_MATCHES = frozenset({"match", "limit", "xt", "ct count", "quota", "fib"})


class _After(Enum):
    """What happens to a packet after a rule."""

    GO_ON = 1
    RETURN = 2
    END = 3


@dataclass(frozen=True, slots=True)
class Block:
    """What stops the packet: a rule of `chain`, or the chain's policy (`rule`
    is None).
    """

    chain: Chain
    rule: Rule | None
    verb: str
    certain: bool

    def __str__(self) -> str:
        if self.rule is None:
            return f"{self.chain}: its policy {self.verb}"
        handle = f" handle {self.rule.handle}" if self.rule.handle else ""
        return f"{self.chain}: the rule{handle} {self.verb}"


def blocks(chain: Chain, packet: Packet, ruleset: Ruleset) -> list[Block]:
    """Everything in this base chain that stops the packet, or may stop it, in order."""
    walker = _Walker(packet, (chain.family, chain.table), ruleset)
    if not walker.follow(chain, 0) and chain.policy == "drop":
        walker.found.append(Block(chain, None, "drops", walker.sure))
    return walker.found


@dataclass(slots=True)
class _Walker:
    """Follows one packet.

    `arrives` is true while the packet has certainly got as far as the current chain.
    `stays` is true while nothing in that chain may have let the packet leave it.
    """

    packet: Packet
    table: tuple[str, str]
    ruleset: Ruleset
    found: list[Block] = field(default_factory=list)
    arrives: bool = True
    stays: bool = True

    @property
    def sure(self) -> bool:
        """Has the packet certainly got to the current rule?"""
        return self.arrives and self.stays

    def follow(self, chain: Chain, depth: int) -> bool:
        """Follow the packet through one chain. True if it certainly ends there."""
        for rule in chain.rules:
            match self._apply(chain, rule, depth):
                case _After.END:
                    return True
                case _After.RETURN:
                    return False
        return False

    def _apply(self, chain: Chain, rule: Rule, depth: int) -> _After:
        matched: bool | None = True
        for expression in rule.expressions:
            kind, content = next(iter(expression.items()))
            action = expression
            if kind == "vmap":
                answer, action = self._mapped(content)
                matched = _and(matched, answer)
            elif kind in _MATCHES and _xt_target(expression) is None:
                matched = _and(matched, self._test(kind, content))
            if matched is False:
                return _After.GO_ON
            after = self._act(chain, rule, action, matched, depth)
            if after is not None:
                return after
        return _After.GO_ON

    def _act(
        self,
        chain: Chain,
        rule: Rule,
        action: Expression,
        matched: bool | None,
        depth: int,
    ) -> _After | None:
        kind, content = next(iter(action.items()))
        verb = _BLOCKING.get(kind) or _XT_BLOCKING.get(_xt_target(action) or "")
        if verb:
            certain = self.sure and matched is True
            self.found.append(Block(chain, rule, verb, certain))
            # If it is unknown whether the drop happens, the packet may go on.
            return _After.END if matched is True else _After.GO_ON
        if kind == "accept":
            return self._leave(matched, _After.END)
        if kind == "return":
            return self._leave(matched, _After.RETURN)
        if kind in ("jump", "goto"):
            ended = self._jump(content.get("target", ""), matched, depth)
            if ended or kind == "goto":
                return self._leave(matched, _After.END if ended else _After.RETURN)
            return _After.GO_ON
        if kind == "vmap":
            self.stays = False
        return None

    def _leave(self, matched: bool | None, how: _After) -> _After:
        if matched is True:
            return how
        self.stays = False
        return _After.GO_ON

    def _jump(self, name: str, matched: bool | None, depth: int) -> bool:
        """Follow a jump. True if the packet, provided that it jumps, ends there."""
        target = self._chain(name)
        if target is None or depth >= MAX_DEPTH:
            self.stays = False
            return False
        before = self.arrives, self.stays
        self.arrives, self.stays = self.sure and matched is True, True
        ended = self.follow(target, depth + 1)
        stayed = self.stays
        self.arrives, self.stays = before
        self.stays = self.stays and stayed
        return ended

    def _chain(self, name: str) -> Chain | None:
        for chain in self.ruleset.chains:
            if (chain.family, chain.table, chain.name) == (*self.table, name):
                return chain
        return None

    def _mapped(self, content: Expression) -> tuple[bool | None, Expression]:
        known = self.packet.get(_field(content.get("key")))
        elements = self._resolve(content.get("data"))
        if known is None or not isinstance(elements, list):
            return None, {"vmap": None}
        for pair in elements:
            hit = _equals(known, pair[0])
            if hit is not False:
                return hit, pair[1]
        return False, {"vmap": None}

    def _test(self, kind: str, content: Any) -> bool | None:
        if kind == "xt" and isinstance(content, dict):
            return True if content.get("name") == "comment" else None
        if kind != "match":
            return None
        known = self.packet.get(_field(content.get("left")))
        operator = content.get("op", "==")
        if known is None or operator not in ("==", "!=", "in"):
            return None
        hit = _equals(known, self._resolve(content.get("right")))
        return not hit if operator == "!=" and hit is not None else hit

    def _resolve(self, value: Any) -> Any:
        """The elements of a set, named or not, as a list; other values unchanged."""
        if isinstance(value, str) and value.startswith("@"):
            return self.ruleset.sets.get((*self.table, value[1:]), value)
        elements = _set_of(value)
        return value if elements is None else elements


def _and(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _xt_target(expression: Expression) -> str | None:
    xt = expression.get("xt")
    if isinstance(xt, dict) and xt.get("type") == "target":
        return str(xt.get("name"))
    return None


def _field(left: Any) -> str:
    """`{"payload": {"protocol": "ip", "field": "saddr"}}` -> `ip saddr`."""
    if not isinstance(left, dict) or not left:
        return ""
    kind, content = next(iter(left.items()))
    if not isinstance(content, dict):
        return ""
    if kind == "payload":
        return f"{content.get('protocol')} {content.get('field')}"
    return f"{kind} {content.get('key')}" if kind in ("meta", "ct") else ""


def _set_of(value: Any) -> list[Any] | None:
    if isinstance(value, dict) and isinstance(value.get("set"), list):
        elements: list[Any] = value["set"]
        return elements
    return value if isinstance(value, list) else None


def _equals(known: Value, right: Any) -> bool | None:
    """Does a known value equal the right-hand side of a match? None if that
    is unknown.
    """
    elements = _set_of(right)
    if elements is not None:
        answers = [_equals(known, element) for element in elements]
        return True if True in answers else (None if None in answers else False)
    if isinstance(right, dict):
        return _equals_structure(known, right)
    if isinstance(right, str) and right.startswith("@"):
        return None
    if isinstance(known, IPv4Network):
        return _overlap(known, _network(str(right)))
    if isinstance(known, str) and isinstance(right, str):
        return fnmatchcase(known, right)
    return bool(known == right)


def _equals_structure(known: Value, right: Mapping[str, Any]) -> bool | None:
    if "elem" in right and isinstance(right["elem"], dict):
        return _equals(known, right["elem"].get("val"))
    if "prefix" in right and isinstance(known, IPv4Network):
        prefix = right["prefix"]
        return _overlap(known, _network(f"{prefix.get('addr')}/{prefix.get('len')}"))
    if "range" in right and isinstance(known, int):
        low, high = right["range"]
        if isinstance(low, int) and isinstance(high, int):
            return low <= known <= high
    return None


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def _overlap(known: IPv4Network, other: IPv4Network | None) -> bool | None:
    if other is None:
        return None
    if known.subnet_of(other):
        return True
    return None if known.overlaps(other) else False
