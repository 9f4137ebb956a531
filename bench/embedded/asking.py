"""What is asked of a metadata server, signed as a proxy signs it: scripts for wrk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.clients.crowd import Member
from bench.clients.load import REPORT
from lab.agent import SECRET
from vagent.config.model import Secret
from vagent.metadata.guest.identity_headers import signature

_REQUESTS = """
local requests, number = {}, 0
function init(args)
  for line in io.lines("%s") do
    local instance, tenant, signature = line:match("(%%S+) (%%S+) (%%S+)")
    table.insert(requests, wrk.format("GET", "%s", {
      ["X-Instance-ID"] = instance,
      ["X-Tenant-ID"] = tenant,
      ["X-Instance-ID-Signature"] = signature,
      ["X-Forwarded-For"] = "10.0.0.5",
    }))
  end
end
function request()
  number = number %% #requests + 1
  return requests[number]
end
"""


def headers(member: Member) -> dict[str, str]:
    """The fields that say whose request it is."""
    return {
        "X-Instance-ID": member.instance_id,
        "X-Tenant-ID": member.tenant_id,
        "X-Instance-ID-Signature": signature(
            Secret(SECRET.encode()), member.instance_id
        ),
    }


def script(folder: Path, name: str, members: Sequence[Member], path: str) -> Path:
    """One that asks for this path, for one guest after the other."""
    guests = folder / f"{name}.guests"
    lines = [" ".join(headers(member).values()) for member in members]
    guests.write_text("\n".join(lines) + "\n")
    made = folder / f"{name}.lua"
    made.write_text(REPORT.read_text() + _REQUESTS % (guests, path))
    return made
