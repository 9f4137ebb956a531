"""A config drive as an image: what is put in comes out, under each of its names."""

from __future__ import annotations

import io
import os
import socket
import stat
from pathlib import Path

import pytest

from vagent.ctl.config_drive import LABEL, image_of, write_image
from vagent.ctl.failure import CommandError

pycdlib = pytest.importorskip("pycdlib", reason="it is not installed")

FILES = {
    "ec2/latest/meta-data.json": b"{}",
    "openstack/2018-08-27/meta_data.json": b'{"a": 1}',
    "openstack/2018-08-27/user_data": bytes(range(256)) * 300,
    "openstack/content/0000": b"",
    "openstack/latest/vendor_data2.json": b"x" * 2048,
}


@pytest.mark.parametrize("names", ["rr_path", "joliet_path"])
def test_files_under_their_names(names: str) -> None:
    """Rock Ridge is for Linux, Joliet for Windows."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image_of(FILES)))
    found = {}
    for folder, _, inside in iso.walk(**{names: "/"}):
        for name in inside:
            content = io.BytesIO()
            path = f"{folder.rstrip('/')}/{name}"
            iso.get_file_from_iso_fp(content, **{names: path})
            found[path.removeprefix("/")] = content.getvalue()
    iso.close()
    assert FILES == found


def test_the_label() -> None:
    """By it guests find the drive (ECMA-119 8.4.8)."""
    descriptor = image_of(FILES)[16 * 2048 :]
    assert b"CD001" == descriptor[1:6]
    assert LABEL.encode() == descriptor[40:72].rstrip()


def test_it_is_written_for_root_alone(tmp_path: Path) -> None:
    """Whole, in the place of an older one."""
    file = tmp_path / "drive.iso"
    file.write_bytes(b"old")
    file.chmod(0o644)
    write_image(file, b"new")
    assert b"new" == file.read_bytes()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())


def test_what_is_no_regular_file_stays_what_it_is(tmp_path: Path) -> None:
    """A link (such as /dev/stdout), a pipe, a socket and a device are refused."""
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    before = {one: one.lstat() for one in tmp_path.iterdir()}
    for path, kind in (
        (tmp_path / "link", "a symbolic link"),
        (tmp_path / "dangling", "a symbolic link"),
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "socket", "a socket"),
        (Path("/dev/null"), "a character device"),
    ):
        with pytest.raises(CommandError, match=f"{path}: got {kind}, .*then copy it"):
            write_image(path, b"x")
    assert before == {one: one.lstat() for one in tmp_path.iterdir()}
    assert b"kept" == (tmp_path / "file").read_bytes()


def test_a_link_in_the_place_of_the_unfinished_file(tmp_path: Path) -> None:
    """Another user of the folder cannot lead the image elsewhere."""
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / ".drive.iso.partial").symlink_to("file")
    write_image(tmp_path / "drive.iso", b"x")
    assert b"kept" == (tmp_path / "file").read_bytes()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The message names the file; nothing is left."""
    (tmp_path / "drive.iso").mkdir()
    with pytest.raises(CommandError, match=r"drive\.iso: Is a directory"):
        write_image(tmp_path / "drive.iso", b"x")
    assert ["drive.iso"] == [one.name for one in tmp_path.iterdir()]
    with pytest.raises(CommandError, match="No such file"):
        write_image(tmp_path / "nowhere" / "drive.iso", b"x")
