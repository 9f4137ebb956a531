"""What is reported of identity documents. No event holds a key."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.nova.events import NovaEvent
from vagent.observe.event import Metric


@dataclass(slots=True)
class IdentityKeysRotated(NovaEvent):
    """The key in use is another one, and a new one was published as the next.

    `key_id` names the key in use, as `kid` in tokens.
    """

    counter = Metric(
        "nova_identity_keys_rotated_total",
        "Times that another key began to sign identity documents.",
    )
    level = "info"
    key_id: str

    def text(self) -> str:
        return f"metadata server: identity documents are signed by key {self.key_id}"


@dataclass(slots=True)
class IdentityKeysNotKept(NovaEvent):
    """The file of identity keys cannot be used or written. New keys sign, which nobody
    knows who read the published ones before.
    """

    counter = Metric(
        "nova_identity_keys_not_kept_total",
        "Times that the file with the keys of identity documents could not be read or "
        "written.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        """Names the file, says what is wrong and what was done."""
        return f"metadata server: identity keys: {self.detail}"

    def is_fault(self) -> bool:
        """True: verifiers have to be given new keys."""
        return True
