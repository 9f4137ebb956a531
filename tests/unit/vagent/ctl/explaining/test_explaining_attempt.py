"""When no probe is sent into a tap. What a probe does is tried with a real agent."""

from __future__ import annotations

from typing import cast

from vagent.ctl.explaining import attempt
from vagent.datapath.tap.probe import TapPrograms


class Programs:
    def __init__(self, *there: int) -> None:
        self.there = there
        self.ended: list[int] = []

    def is_at(self, ifindex: int) -> bool:
        return ifindex in self.there

    def new_mark(self) -> int:
        return 77

    def end(self, mark: int) -> None:
        self.ended.append(mark)


def programs(*there: int) -> TapPrograms:
    return cast("TapPrograms", Programs(*there))


def test_no_probe_goes_where_the_agents_program_is_not() -> None:
    """The host would carry it to where it sends everything."""
    assert attempt._missing(programs(1), "lo") == ""
    assert "program is not at lo" in attempt._missing(programs(), "lo")
    said = attempt._missing(programs(1), "gone-tap")
    assert said == "this host has no interface gone-tap"


def test_a_mark_is_the_probes_for_a_while() -> None:
    made = Programs()
    with attempt._marked(cast("TapPrograms", made)) as mark:
        assert (mark, made.ended) == (77, [])
    assert made.ended == [77]
