"""Finds out what the kernel can do by trying it, without changing anything.

nft checks a transaction without applying it. Where nft's own queue statement is
missing, the xt rule is put into a table without hooks, which no packet meets, and
deleted again. Interfaces are made in a network namespace that ends with the command.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from vagent.doctor.commands import ask, there
from vagent.doctor.facts import KernelTrial
from vagent.errors import KernelError
from vagent.kernel import bpf, netlink, nf_tables
from vagent.kernel.bpf_assembler import Code, Op
from vagent.kernel.sock_diag import socket_owner

_TABLE = "table {family} vagent_doctor {{\n{body}\n}}\n"
_NFT = (
    # part, option, module, family, body
    ("nf_tables", "CONFIG_NF_TABLES", "nf_tables", "ip", ""),
    (
        "nf_tables connection tracking match",
        "CONFIG_NFT_CT",
        "nft_ct",
        "ip",
        "chain c {{ ct state new ct mark set 1; }}",
    ),
    (
        "nf_tables address translation",
        "CONFIG_NFT_NAT and CONFIG_NFT_MASQ",
        "nft_nat",
        "ip",
        "chain c {{ type nat hook prerouting priority 0; dnat to 127.0.0.1; }}\n"
        "chain d {{ type nat hook postrouting priority 0; masquerade; }}",
    ),
    (
        "nf_tables reject statement",
        "CONFIG_NFT_REJECT",
        "nft_reject_ipv4",
        "ip",
        "chain c {{ meta l4proto tcp reject with tcp reset; }}",
    ),
)
_COMPLAINT = re.compile(r"Error: (.*?)(?= table| chain|$)")


def try_kernel(queue_number: int) -> Iterator[KernelTrial]:
    """Try every part of the kernel that the agent needs."""
    for part, option, module, family, body in _NFT:
        script = _TABLE.format(family=family, body=body.format())
        yield KernelTrial(part, option, module, _checked(script))
    yield KernelTrial(
        "way to queue packets (nft queue, or xt NFQUEUE)",
        "CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
        "nft_queue",
        _queue(queue_number),
    )
    yield KernelTrial(
        "NFQUEUE",
        "CONFIG_NETFILTER_NETLINK_QUEUE",
        "nfnetlink_queue",
        _first_line(not Path("/proc/net/netfilter/nfnetlink_queue").exists()),
    )
    yield KernelTrial(
        "eBPF for traffic control (CAP_BPF and CAP_NET_ADMIN, no lockdown)",
        "CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and CONFIG_NET_CLS_ACT",
        "cls_bpf",
        _bpf(),
    )
    yield KernelTrial("veth", "CONFIG_VETH", "veth", _veth())
    yield KernelTrial(
        "socket monitoring (whose connection is it)",
        "CONFIG_INET_DIAG",
        "tcp_diag",
        "" if _tells_owners() else "the owner of a connection is not told",
    )


def _first_line(missing: bool) -> str:
    return "/proc/net/netfilter/nfnetlink_queue is not there" if missing else ""


def _tells_owners() -> bool:
    """Does the kernel know whose a connection of this process is?"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()
        with socket.create_connection(where, timeout=1.0) as client:
            here, there = client.getsockname(), client.getpeername()
            ends = [(IPv4Address(host), port) for host, port in (here, there)]
            return socket_owner(*ends) == os.geteuid()


def _checked(script: str) -> str:
    said = ask(["nft", "-c", "-f", "-"], script)
    if said.ok:
        return ""
    found = _COMPLAINT.search(said.error)
    return (found[1] if found else said.error)[:200] or "refused"


def _queue(number: int) -> str:
    refusal = _checked(
        _TABLE.format(family="ip", body=f"chain c {{ queue num {number}; }}")
    )
    if not refusal:
        return ""
    name = f"vagent_doctor_{os.getpid()}"
    made = ask(["nft", "-f", "-"], f"table ip {name} {{ chain c {{ }}; }}\n")
    if not made.ok:
        return made.error[:200] or "refused"
    rule = nf_tables.insert_rule(nf_tables.IPV4, name, "c", nf_tables.xt_queue(number))
    try:
        answers = netlink.transact_batch(nf_tables.encode(rule))
    except KernelError as failure:
        return f"nft: {refusal}; {failure}"
    finally:
        ask(["nft", "delete", "table", "ip", name])
    refused = nf_tables.refusal(rule, answers)
    return f"nft: {refusal}; xt NFQUEUE: {refused}" if refused else ""


def _bpf() -> str:
    """Load a program that lets everything pass."""
    code = Code()
    code.put(Op.MOV, 0, 0)
    code.leave()
    try:
        os.close(bpf.load(code.assembled()))
    except KernelError as failure:
        return str(failure)
    return ""


def _veth() -> str:
    if not there("unshare"):
        return ""
    argv = ["unshare", "--net", "ip", "link", "add", "vgd0", "type", "veth"]
    said = ask([*argv, "peer", "name", "vgd1"])
    return "" if said.ok else said.error[:200] or "refused"
