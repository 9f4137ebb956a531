"""What a probe at a tap tells, in words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from vagent.ctl.explaining.trial import LastSeen, TapTrial
from vagent.datapath.tap.layout import NOT_FOR_SERVICE, DropReason, TapProbe

SEEN = LastSeen("tap1", 0, False, "02:00:00:00:00:01", IPv4Address("10.0.0.5"))
PROBE = TapProbe(IPv4Address("169.254.64.9"), 7)


def test_a_guest_as_people_write_it() -> None:
    assert str(SEEN) == "02:00:00:00:00:01 10.0.0.5"
    assert str(replace(SEEN, vlan=7)) == "02:00:00:00:00:01 10.0.0.5 VLAN 7"
    assert str(replace(SEEN, is_service_tag=True)).endswith(" 802.1ad VLAN 0")
    assert "never seen" in SEEN.since
    assert replace(SEEN, ago=12.4).since == "as its guest was last seen 12 s ago"


def test_what_became_of_a_probe() -> None:
    """Refused, let in, or neither."""
    for outcome, refusal, was_let_in in (
        (None, "", False),
        (PROBE, "", False),
        (PROBE._replace(answered=1), "", False),
        (PROBE._replace(accepted=2), "", True),
        (PROBE._replace(refused=DropReason.SPOOFED), "spoofed", False),
        (
            PROBE._replace(refused=NOT_FOR_SERVICE),
            "its destination is no guarded service",
            False,
        ),
    ):
        trial = TapTrial(SEEN, outcome)
        assert (trial.refusal, trial.was_let_in) == (refusal, was_let_in)
