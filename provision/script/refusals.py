"""What provision_linklocal.py does not do unless it is told to: changes that cut guests
off, or that are slips of the pen. Contrail's script does them without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from vagent.errors import VagentError, WireError
from vagent.linklocal.codec import decode_entry
from vagent.linklocal.service import METADATA, METADATA6

MIN_LENGTH = 3
"""Characters of a name from which one that is like it counts as mistyped."""
MAX_NAMES = 8
"""Names that a message lists."""
_NAME = "linklocal_service_name"

Entry = Mapping[str, Any]


class RefusedChangeError(VagentError):
    """The change is not made; the message says what would happen."""

    def __init__(self, whys: Sequence[str]) -> None:
        super().__init__("; ".join([*whys, "nothing was changed (--force does it)"]))


def check_addition(entries: Iterable[object], entry: Entry) -> None:
    """Raise RefusedChangeError if this entry should not be added to the list, or take
    the place of the one of its name.
    """
    known = [each for each in entries if isinstance(each, dict)]
    whys = [*_incomplete(known, entry), *_taken(known, entry)]
    whys += _mistyped(known, entry)
    if whys:
        raise RefusedChangeError(whys)


def check_deletion(entries: Iterable[object], name: str) -> None:
    """Raise RefusedChangeError if there is no service of this name."""
    names = _names(each for each in entries if isinstance(each, dict))
    if name in names:
        return
    shown = ", ".join(names[:MAX_NAMES]) or "there are no services"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    like = [each for each in names if _is_like(name, each)]
    hint = f"; did you mean {like[0]}?" if like else ""
    raise RefusedChangeError([f"no service is named {name!r} ({shown}{more}){hint}"])


def missing(entry: Entry) -> tuple[str, ...]:
    """The flags without which guests cannot use the service."""
    flags = {
        "--linklocal_service_ip": entry["linklocal_service_ip"],
        "--linklocal_service_port": entry["linklocal_service_port"],
        "--ipfabric_service_port": entry["ip_fabric_service_port"],
        "--ipfabric_service_ip (or --ipfabric_dns_service_name)": (
            entry["ip_fabric_service_ip"] or entry["ip_fabric_DNS_service_name"]
        ),
    }
    return tuple(flag for flag, value in flags.items() if not value)


def _incomplete(known: Sequence[Entry], entry: Entry) -> Iterator[str]:
    without = ", ".join(missing(entry))
    if not without:
        return
    name = entry[_NAME]
    usable = [each for each in known if each.get(_NAME) == name and _is_usable(each)]
    if usable:
        yield (
            f"all guests would be cut off from {name}, which leads to "
            f"{_fabric(usable[0])} now: the new entry is without {without}"
        )
    else:
        yield f"guests could not use {name} without {without}"


def _taken(known: Sequence[Entry], entry: Entry) -> Iterator[str]:
    place = _place(entry)
    for other in known:
        if place and _place(other) == place and other.get(_NAME) != entry[_NAME]:
            yield (
                f"{place[0]} port {place[1]} belongs to {other.get(_NAME)}: of two "
                "services there guests would reach one alone"
            )
            return


def _mistyped(known: Sequence[Entry], entry: Entry) -> Iterator[str]:
    name, names = entry[_NAME], _names(known)
    if name in (METADATA, METADATA6, *names):
        return
    for other in dict.fromkeys((*names, METADATA)):
        if _is_like(name, other):
            what = "stay as it is" if other in names else "not be provided"
            yield (
                f"{name} is new, and looks like {other}: it would be another service, "
                f"and {other} would {what}"
            )
            return


def _names(entries: Iterable[Entry]) -> list[str]:
    found = (each.get(_NAME) for each in entries)
    return [name for name in found if isinstance(name, str) and name]


def _is_usable(entry: Entry) -> bool:
    with suppress(WireError):
        service = decode_entry(entry)
        return bool(service.fabric_addresses or service.fabric_dns_name)
    return False


def _fabric(entry: Entry) -> str:
    service = decode_entry(entry)
    where = service.fabric_addresses or (service.fabric_dns_name,)
    return f"{', '.join(map(str, where))} port {service.fabric_port}"


def _place(entry: Entry) -> tuple[str, int] | None:
    with suppress(ValueError, TypeError, KeyError):
        address = ip_address(entry["linklocal_service_ip"])
        return str(address), int(entry["linklocal_service_port"])
    return None


def _is_like(name: str, other: str) -> bool:
    """Is one at most an edit away from the other? Case does not count, as agents do not
    look at it. The members of a series (ntp1, ntp2) are not alike, nor are a service
    and its like for IPv6 (ntp, ntp6; Contrail: metadata6).
    """
    one, two = name.lower(), other.lower()
    if one == two:
        return True
    if max(len(one), len(two)) < MIN_LENGTH or _is_series(one, two):
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
        min(len(one), len(two)),
    )
    a, b = one[start:], two[start:]
    swapped = a[1::-1] + a[2:]
    return b in (a[1:], swapped) or a == b[1:] or a[1:] == b[1:]


def _is_series(one: str, two: str) -> bool:
    digits = "0123456789"
    if "6" in (one.removeprefix(two), two.removeprefix(one)):
        return True
    stem = one.rstrip(digits)
    return stem == two.rstrip(digits) and stem not in (one, two)
