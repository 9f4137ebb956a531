"""A dashboard as Grafana's own model knows it, in the models of its foundation SDK.

`grafana_read.py FILE`: prints it as JSON, without what the model does not have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()
document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
print(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document)))
