"""Which warning is due, and which certificate of a file counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.pki import Authority
from vagent.certificates.expiry import Ending, ExpiryStage, ending_of, stage_of

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "stage"),
    [
        (31, ExpiryStage.FAR),
        (30.01, ExpiryStage.FAR),
        (30, ExpiryStage.MONTH),
        (7.01, ExpiryStage.MONTH),
        (7, ExpiryStage.WEEK),
        (0.01, ExpiryStage.WEEK),
        (0, ExpiryStage.ENDED),
        (-1, ExpiryStage.ENDED),
    ],
)
def test_stages(days: float, stage: ExpiryStage) -> None:
    """30 days, 7 days, the end."""
    ending = Ending("CN=a", NOW + timedelta(days=days))
    assert stage is stage_of(ending, NOW)
    assert days == pytest.approx(ending.days(NOW))


def pem(folder: Path, *lifetimes: int) -> bytes:
    """A file with a CA of each lifetime in days."""
    made = [
        Authority(folder / str(n), f"ca-{days}", lifetime=timedelta(days=days))
        for n, days in enumerate(lifetimes)
    ]
    return b"".join(one.cert.read_bytes() for one in made)


@pytest.mark.parametrize(
    ("lifetimes", "decides"),
    [((9,), 9), ((9, 5, 20), 5), ((9, 5, 20, 30), 5), ((9, 5, 20, 30, 8), 30)],
)
def test_which_certificate_of_a_file_decides(
    tmp_path: Path, lifetimes: tuple[int, ...], decides: int
) -> None:
    """The first to end; of a large bundle the last."""
    assert f"CN=ca-{decides}" == ending_of(pem(tmp_path, *lifetimes)).subject


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_no_certificate_is_an_error(content: bytes) -> None:
    """ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"."):
        ending_of(content)
