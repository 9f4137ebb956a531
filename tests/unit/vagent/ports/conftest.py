"""A port as orchestrators send it, a port as a value, a coroutine run to its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from vagent.ports.codec import decode_port
from vagent.ports.port import Port

BODY: dict[str, Any] = {
    "id": "93c2c386-6e79-485e-bfa4-b9daa713133b",
    "instance-id": "32d0524b-314d-4594-b3a3-607e3f2354f8",
    "vn-id": "12345678-1234-1234-1234-123456789abc",
    "vm-project-id": "00112233-4455-6677-8899-aabbccddeeff",
    "display-name": "web-1",
    "ip-address": "10.0.0.5",
    "ip6-address": "None",
    "mac-address": "02:93:c2:c3:86:6e",
    "system-name": "tap93c2c386-6e",
    "type": 0,
    "rx-vlan-id": -1,
    "tx-vlan-id": -1,
}


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """A POST /port object; keywords replace members (`_` for `-`), ... removes one."""

    def make(**members: Any) -> dict[str, Any]:
        changed = {name.replace("_", "-"): value for name, value in members.items()}
        return {k: v for k, v in {**BODY, **changed}.items() if v is not ...}

    return make


@pytest.fixture
def port(body: Callable[..., dict[str, Any]]) -> Callable[..., Port]:
    """Port number n: own id, tap and address, of instance n; keywords as for body."""

    def make(n: int = 1, **members: Any) -> Port:
        mine = {
            "id": f"00000000-0000-0000-0000-{n + 1:012x}",
            "instance_id": f"11111111-0000-0000-0000-{n:012x}",
            "system_name": f"tap{n}",
            "ip_address": f"10.0.{n // 250}.{n % 250 + 1}",
            "mac_address": f"02:00:00:00:{n // 256:02x}:{n % 256:02x}",
        }
        return decode_port(body(**{**mine, **members}))

    return make


@pytest.fixture
def result() -> Callable[..., Any]:
    """What a coroutine that has all it needs returns or raises."""

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        seen: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(seen.append)
        assert seen, "the coroutine is still waiting"
        if hasattr(seen[0], "raiseException"):
            seen[0].raiseException()
        return seen[0]

    return run
