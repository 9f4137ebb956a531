"""A certificate near its end is told of everywhere, once, while guests are served."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from typing import Any

import pytest
from lxml import html

from lab.pki import Authority

pytestmark = pytest.mark.system


def test_an_end_in_five_days(idle_site: Any, ask: Any) -> None:
    """Log and trace have one warning for each certificate, whatever guests do; gauge,
    page and doctor have the days.
    """
    site = idle_site
    days = dt.timedelta(days=5)
    brief = Authority(site.folder / "brief", "a CA of five days", lifetime=days)
    client = brief.client("agent")
    pki = site.folder / "pki"
    # Of another authority than the server's: it is added to what the server trusts.
    for source, name in ((client.cert, "agent.crt"), (client.key, "agent.key")):
        shutil.copy(source, pki / name)
    trusted = pki / "ca.crt"
    trusted.write_bytes(trusted.read_bytes() + brief.cert.read_bytes())
    site.agent.start()
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    for _ in range(3):
        assert "I am alice\n" == ask(alice, "/latest/user-data")
    log = site.agent.log.read_text()
    told = [line for line in log.splitlines() if " ends on " in line]
    assert [True, True] == ["agent.crt" in told[0], "ca.crt" in told[1]]
    assert 2 == len(told)
    assert 2 == site.agent.tool("vagent.ctl", "trace", "Metadata").count(" ends on ")
    metrics = site.agent.get("http://127.0.0.1:8085/metrics").splitlines()
    end = re.compile(r"vagent_metadata_(\w+)_expiry_timestamp_seconds (\S+)")
    ends = [found for line in metrics if (found := end.fullmatch(line))]
    now = dt.datetime.now(dt.UTC).timestamp()
    left = {one[1]: (float(one[2]) - now) / 86_400 for one in ends}
    for name in ("client_cert", "ca_cert", "client_ca"):
        assert 4 < left[name] < 5
    assert left["server_cert"] > 80
    page = site.agent.get(
        "http://127.0.0.1:8085/Snh_MetadataInfo", "-H", "Accept: text/html"
    )
    (row,) = html.document_fromstring(page).xpath("//tr[td='CN=agent']")
    assert [True, "4"] == ["agent.crt" in row[0].text_content(), row[4].text_content()]
    said = site.agent.tool(
        *("vagent.ctl", "--config", str(site.agent.conf), "-o", "json", "doctor"),
        check=False,
    )
    checks = json.loads(said)["checks"]
    findings = [one["what"] for check in checks for one in check["findings"]]
    assert any("agent.crt expires on" in what for what in findings), findings
