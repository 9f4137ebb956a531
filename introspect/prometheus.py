"""A statistics snapshot becomes Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from vagent.observe.statistics import HistogramSnapshot, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "vagent_"

_NOT_NAME = re.compile("[^a-zA-Z0-9_]")


def exposition(snapshot: Snapshot, *, version: str) -> bytes:
    """The body of `/metrics`. Names get the prefix `vagent_`; lines end in LF."""
    lines = [*_head("build_info", "Version of the agent.", "gauge")]
    lines.append(_sample("build_info", 1, f'version="{_label(version)}"'))
    for counter in snapshot.counters:
        lines += _head(counter.name, counter.about, "counter")
        lines += [
            _sample(counter.name, value, _labelled(counter.label, text))
            for text, value in counter.values
        ]
    for gauge in snapshot.gauges:
        lines += _head(gauge.name, gauge.about, "gauge")
        lines.append(_sample(gauge.name, gauge.value))
    for name, series in groupby(snapshot.histograms, key=attrgetter("name")):
        for number, histogram in enumerate(series):
            if not number:
                lines += _head(name, histogram.about, "histogram")
            lines += _histogram(histogram)
    return ("\n".join(lines) + "\n").encode()


def _histogram(histogram: HistogramSnapshot) -> Iterator[str]:
    name = histogram.name
    labels = _labelled(histogram.label, histogram.value)
    for bound, count in (*histogram.buckets, (math.inf, histogram.count)):
        le = f'le="{_number(bound)}"'
        yield _sample(f"{name}_bucket", count, f"{labels},{le}" if labels else le)
    yield _sample(f"{name}_sum", histogram.total, labels)
    yield _sample(f"{name}_count", histogram.count, labels)


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    text = about.replace("\\", "\\\\").replace("\n", "\\n")
    if text:
        yield f"# HELP {_name(name)} {_encodable(text)}"
    yield f"# TYPE {_name(name)} {kind}"


def _sample(name: str, value: float, labels: str = "") -> str:
    braces = f"{{{labels}}}" if labels else ""
    return f"{_name(name)}{braces} {_number(value)}"


def _labelled(name: str, text: str) -> str:
    return f'{name}="{_label(text)}"' if text else ""


def _label(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return _encodable(quoted)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _name(name: str) -> str:
    return PREFIX + _NOT_NAME.sub("_", name)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
