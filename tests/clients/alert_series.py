"""What Prometheus would have stored of an agent: promtool judges its alerts by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[2] / "conf" / "prometheus" / "vagent.rules.yml"
NAMES = frozenset(re.findall(r"\bvagent_\w+", RULES.read_text("utf-8")))
"""What the rules ask for; the rest would take its time."""
TARGET = {"job": "vagent", "instance": "host-1:8085"}
UP = 'up{instance="host-1:8085",job="vagent"}'


class Series:
    """Pages of `/metrics`, one a minute, as series of promtool's test files."""

    def __init__(self) -> None:
        self._values: dict[str, dict[int, float]] = {}
        self.minutes = 0

    def scrape(self, page: str) -> None:
        """One more minute has gone, and this was read; "" for no answer."""
        self._add(UP, 1.0 if page else 0.0)
        asked = [
            each for each in page.splitlines() if re.split("[ {]", each)[0] in NAMES
        ]
        for family in text_string_to_metric_families("\n".join([*asked, ""])):
            for sample in family.samples:
                labels = {**sample.labels, **TARGET}
                inner = ",".join(
                    f"{name}={json.dumps(labels[name])}" for name in sorted(labels)
                )
                self._add(f"{sample.name}{{{inner}}}", sample.value)
        self.minutes += 1

    def _add(self, series: str, value: float) -> None:
        self._values.setdefault(series, {})[self.minutes] = value

    def written(self) -> list[dict[str, str]]:
        """The member `input_series`."""
        return [
            {
                "series": name,
                "values": " ".join(
                    repr(values[minute]).replace("nan", "NaN")
                    if minute in values
                    else "_"
                    for minute in range(self.minutes)
                ),
            }
            for name, values in self._values.items()
        ]


def group(series: Series, firing: Mapping[int, Iterable[str]]) -> dict[str, Any]:
    """A group of tests: which alerts fire at these minutes, and no others."""
    return {
        "interval": "1m",
        "input_series": series.written(),
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in names
                ],
            }
            for minute, names in firing.items()
        ],
    }


def write_tests(folder: Path, groups: list[dict[str, Any]]) -> Path:
    """A file for `promtool test rules`. JSON is YAML, too."""
    file = folder / "alerts.json"
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": groups,
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file
