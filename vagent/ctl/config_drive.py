"""A config drive as an image file: ISO 9660 with Joliet and Rock Ridge, labelled
`config-2`, by which guests find it. pycdlib is imported by this command alone.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vagent.ctl.failure import CommandError

LABEL = "config-2"
"""cloud-init looks for a file system of this name (OpenStack's config drive v2)."""


def image_of(files: Mapping[str, bytes]) -> bytes:
    """The image that holds these files, by their paths."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    plain: dict[str, str] = {"": ""}
    for path in sorted(files):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in plain:
                above = plain["/".join(parts[: depth - 1])]
                # Rock Ridge and Joliet have the real names; ISO 9660 itself numbers.
                plain[folder] = f"{above}/D{len(plain):06d}"
                iso.add_directory(
                    plain[folder], rr_name=parts[depth - 1], joliet_path=f"/{folder}"
                )
        plain[path] = f"{plain['/'.join(parts[:-1])]}/F{len(plain):06d}.;1"
        iso.add_fp(
            io.BytesIO(files[path]),
            len(files[path]),
            plain[path],
            rr_name=parts[-1],
            joliet_path=f"/{path}",
        )
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def write_image(path: Path, image: bytes) -> None:
    """Put it there whole or not at all, mode 0600: user data are in it. What is there
    may be a regular file, which is replaced. Raises CommandError.
    """
    _check_target(path)
    partial = ""
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except OSError as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        raise CommandError(f"{path}: {error.strerror}") from error


def _check_target(path: Path) -> None:
    """A device or the like would be replaced by a file, so it is refused."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # not there; or to write there will tell what is wrong
    if stat.S_ISDIR(mode):
        raise CommandError(f"{path}: {os.strerror(errno.EISDIR)}")
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
        raise CommandError(
            f"{path}: got {kind}, allowed is a regular file or a new name: write the "
            "image to a file, then copy it, for example by dd or cat"
        )


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
