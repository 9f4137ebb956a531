"""What a change of the services did to the guests, as the reply to it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from provision.config_api.reply import RefusedError
from provision.config_api.vrouter_config import written_entries
from vagent.errors import KernelError, StoreError
from vagent.linklocal.table import NotInForce, shown_name
from vagent.transport.within import within

DEADLINE = 5.0
"""Seconds from the write to the store until the kernel must have the change."""
HEADER = "Vagent-In-Force"
"""The header of the reply to a change: YES, or `no` with the reason."""
YES = "yes"
MAX_TEXT = 1000
"""Characters of the header's value."""


class Following(Protocol):
    """The agent that follows the store."""

    async def settle(self) -> None:
        """Return when what the store holds is in force. Raises StoreError or
        KernelError.
        """

    def not_in_force(self) -> tuple[NotInForce, ...]:
        """The services that guests cannot use, and why."""


class Effect:
    """Waits for the agent after a change."""

    def __init__(self, following: Following, clock: IReactorTime) -> None:
        self._following = following
        self._clock = clock

    async def of_change(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        """The header's value for a change of the object from `old` to `new`.

        Raises RefusedError (500) where the kernel does not take it, or not in time. It
        stays stored, and the agent tries again.
        """
        following = self._following
        try:
            await within(DEADLINE, following.settle, self._clock)
        except DeferredTimeout:
            raise _stored(f"not done within {DEADLINE:g} s", following) from None
        except (KernelError, StoreError) as error:
            raise _stored(str(error), following) from None
        names = {shown_name(entry).lower() for entry in written_entries(old, new)}
        why = [str(n) for n in following.not_in_force() if n.name.lower() in names]
        return _header_text("; ".join(why)) if why else YES


def _stored(why: str, following: Following) -> RefusedError:
    others = "; ".join(map(str, following.not_in_force()[:3]))
    return RefusedError(
        500,
        f"The change is stored, but not in force: {why}. The agent tries again every "
        "second; `vagentctl service list` says what is in force"
        + (f" (now not in force: {others})" if others else ""),
    )


def _header_text(why: str) -> str:
    return ascii(f"no: {why}")[1:-1][:MAX_TEXT]
