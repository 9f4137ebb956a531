"""Reads agent.conf, from its path to an AgentConfig.

There are four steps, each a module: the file (`files`), well-formed XML without
anything dangerous (`document`), the grammar (`structure`, agent.xsd), and what values
mean together (`meaning`). If one of the first two fails, reading ends; grammar and
meaning report together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vagent.config.document import MAX_BYTES, parse
from vagent.config.files import Content, read_bounded, reason
from vagent.config.findings import Findings
from vagent.config.grammar import load_grammar
from vagent.config.meaning import read_meaning
from vagent.config.model import AgentConfig
from vagent.config.structure import read_structure
from vagent.errors import Problem


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without errors, and the warnings about it."""

    config: AgentConfig
    warnings: tuple[Problem, ...]


def read_config(path: Path) -> Loaded:
    """Read agent.conf and the secret and PEM files that it names.

    Raises `ConfigError` with every problem of the file, and nothing else.
    """
    findings = Findings(str(path))
    try:
        conf = read_bounded(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        findings.refuse_file(f"cannot read the file: {reason(error)}")
    return _load(conf, findings)


def _load(conf: Content, findings: Findings) -> Loaded:
    root = parse(conf.data, findings)
    agent = read_structure(root, load_grammar(), findings)
    config = read_meaning(agent, findings, conf)
    findings.raise_if_refused()
    return Loaded(config, findings.warnings)
