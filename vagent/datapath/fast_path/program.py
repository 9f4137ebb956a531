"""The fast path's programs at traffic control's ingress hook.

A packet that matches an entry exactly is translated and sent on; every other packet
goes the way that it goes without them (`vagent.datapath.tap.translate`).
"""

from __future__ import annotations

from vagent.datapath.tap import flow_entry as entry
from vagent.datapath.tap import translate
from vagent.datapath.tap.idioms import (
    CONTEXT,
    PASS,
    Helper,
    Skb,
    leave,
)
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_DESTINATION = translate.KEY + 16


def at_fabric(*, entries: int, lease: int) -> bytes:
    """The program for the fabric's interfaces, with its maps by descriptor."""
    code = Code()
    code.take(Op.MOV, CONTEXT, 1)
    # Only frames that are sent to this host.
    code.load(Size.WORD, 2, CONTEXT, Skb.PACKET_TYPE)
    code.jump_if(If.UNEQUAL, 2, 0, "pass")
    translate.read(code, "pass")
    translate.complete_key(code, from_guest=False)
    translate.translate(
        code, entries, lease, absent="pass", otherwise="pass", to_guest=True
    )
    code.load(Size.WORD, 1, translate.ENTRY, entry.OUT)
    code.put(Op.MOV, 2, 0)
    code.call(Helper.REDIRECT)
    code.leave()
    code.label("pass")
    leave(code, PASS)
    return code.assembled()
