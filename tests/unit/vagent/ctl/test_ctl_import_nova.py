"""`vagentctl instance import`: what is sent, printed, and refused."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from vagent.ctl.failure import CommandError
from vagent.ctl.import_nova import import_instances
from vagent.ctl.nova_import.rows import GROUPS_SQL, statements
from vagent.web.json_client import NEVER_ANSWERED, ApiError

ROWS = str(Path(__file__).parents[3] / "fixtures" / "nova" / "rows.jsonl")
INJECTED = "1a2b3c00-0000-4000-8000-00000000000c"
OTHER = "1a2b3c00-0000-4000-8000-000000000001"


class Session:
    """Takes documents, refuses those in `refused`."""

    def __init__(self) -> None:
        self.stdout = io.StringIO()
        self.said: list[str] = []
        self.put: list[tuple[str, str, dict[str, Any]]] = []
        self.shown: list[str] = []
        self.refused: dict[str, ApiError] = {}
        self.config_api = self

    def read_input(self, name: str, *, most: int) -> str:
        assert most > 1_000_000
        return Path(name).read_text()

    def call(self, method: str, path: str, document: dict[str, Any]) -> None:
        if document["uuid"] in self.refused:
            raise self.refused[document["uuid"]]
        self.put.append((method, path, document))

    def say(self, text: str) -> None:
        self.said.append(text)

    def show_table(self, items: list[dict[str, Any]], columns: object) -> None:
        self.shown = [item["uuid"] for item in items]


def run(session: Any, file: str | None = ROWS, *uuids: str, **options: Any) -> None:
    chosen = {"sql": False, "groups_sql": False, "print": False, "domain": None}
    import_instances(session, Namespace(file=file, uuids=uuids, **chosen | options))


@pytest.fixture
def session() -> Session:
    return Session()


def test_all_instances(session: Session) -> None:
    """Each is put under its UUID; what is lost is told with it."""
    run(session)
    assert 43 == len(session.put) == len(session.shown)
    method, path, document = session.put[0]
    assert ("PUT", f"/vagent/instance/{document['uuid']}") == (method, path)
    assert "domain" not in document
    loss = "Nova injects a network configuration; give it as network_config"
    assert [f"{INJECTED}: {loss}"] == session.said


def test_some_instances_with_a_domain(session: Session) -> None:
    """In the order asked for."""
    run(session, ROWS, INJECTED.upper(), OTHER, domain="cloud.test")
    assert [INJECTED, OTHER] == session.shown
    assert {"cloud.test"} == {document["domain"] for _, _, document in session.put}
    with pytest.raises(CommandError, match="no rows of 1a2b3c00-0000-4000-8000-0000ff"):
        run(session, ROWS, "1a2b3c00-0000-4000-8000-0000ff000000")
    with pytest.raises(CommandError, match="is not a UUID"):
        run(session, ROWS, "x")


def test_print_changes_nothing(session: Session) -> None:
    """The documents, as `instance add` takes them."""
    run(session, ROWS, OTHER, print=True)
    (document,) = json.loads(session.stdout.getvalue())
    assert OTHER == document["uuid"]
    assert [] == session.put


def test_one_that_is_refused_does_not_stop_the_others(session: Session) -> None:
    """It is named at the end; an agent that does not answer ends it at once."""
    session.refused[OTHER] = ApiError(f"instance {OTHER}: bad", status=400)
    with pytest.raises(CommandError, match=f"instance {OTHER}: bad"):
        run(session)
    assert 42 == len(session.put) == len(session.shown)
    session.put.clear()
    session.refused[OTHER] = ApiError("nobody listens", status=NEVER_ANSWERED)
    with pytest.raises(ApiError, match="nobody listens"):
        run(session)
    assert [] == session.put


def test_statements(session: Session) -> None:
    """For the operator to give to a database."""
    run(session, None, sql=True)
    run(session, None, groups_sql=True)
    assert statements() + GROUPS_SQL == session.stdout.getvalue()


def test_wrong_input(session: Session, tmp_path: Path) -> None:
    """No file, and a file that has no rows."""
    with pytest.raises(CommandError, match="which FILE"):
        run(session, None)
    (tmp_path / "a").write_text("nonsense")
    with pytest.raises(CommandError, match="line 1: got no row"):
        run(session, str(tmp_path / "a"))
