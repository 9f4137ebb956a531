"""The tables of vagent.sqlite and their version.

Version 1: `entry` holds JSON by (kind, id); `clock` holds the last revision that was
given, so that revisions grow even after the newest entry was deleted.
"""

from __future__ import annotations

import sqlite3

from vagent.errors import StoreError

VERSION = 1

_TABLES = (
    """CREATE TABLE entry (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        value TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (kind, id)
    )""",
    """CREATE TABLE clock (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        revision INTEGER NOT NULL
    )""",
    "INSERT INTO clock VALUES (1, 0)",
    f"PRAGMA user_version = {VERSION}",
)


def prepare(connection: sqlite3.Connection, *, busy_timeout: float) -> None:
    """Set up durability and check the file; make the tables in an empty one.

    WAL with synchronous=FULL: a commit survives kill -9 and power loss, and costs one
    fsync. Raises StoreError for a newer version, sqlite3.Error for a damaged file.
    """
    connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}")
    _check_version(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise sqlite3.DatabaseError(str(damage))
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _check_version(connection) == 0:
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_version(connection: sqlite3.Connection) -> int:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise StoreError(
            f"its schema has version {found}, this program knows up to {VERSION}: "
            "start the newer vagent, or move the file away to begin without it"
        )
    return found
