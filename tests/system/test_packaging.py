"""What is built from this tree has all of it, and works where it is installed."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.namespaces import PATIENCE
from vagent import __version__

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("vagent", "introspect", "provision")
BUILD = "from setuptools import build_meta as b; b.build_{kind}({folder!r})"
COMMANDS = ("vagent", "vagentctl", "vagent-libvirt", "provision_linklocal.py")


def run(*argv: object, cwd: Path = ROOT) -> str:
    """What a command says; it must not fail."""
    done = subprocess.run(
        [str(each) for each in argv], cwd=cwd, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def tracked() -> set[str]:
    """The files of the tree, caches and what was made from it left out."""
    listed = run(
        *("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"),
        *("--cached", "--others", "--exclude-standard"),
    )
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def is_made(name: str) -> bool:
    """Is this a file that the build adds?"""
    return name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-c", BUILD.format(kind="sdist", folder=str(folder)), cwd=tree)
    (source,) = folder.glob("*.tar.gz")
    run("tar", "xf", source, cwd=folder)
    unpacked = folder / source.name.removesuffix(".tar.gz")
    build = BUILD.format(kind="wheel", folder=str(folder))
    run(sys.executable, "-c", build, cwd=unpacked)
    (wheel,) = folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(
    built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The commands of a new environment with the wheel in it. The libraries are those
    of the tests: fetching them would test the package index.
    """
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", built[1])
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_source_distribution_is_the_tree(built: tuple[Path, Path]) -> None:
    """Tests, documents and the licence included, so that it can be tested as well."""
    with tarfile.open(built[0]) as archive:
        names = {
            each.name.partition("/")[2]
            for each in archive.getmembers()
            if each.isfile()
        }
    assert tracked() == {name for name in names if not is_made(name)}


def test_the_wheel_is_the_product(built: tuple[Path, Path]) -> None:
    """Every file of the three packages, schema, style sheet and type markers among
    them, the licence, and nothing else.
    """
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
    about = f"vagent-{__version__}.dist-info/"
    assert f"{about}licenses/LICENSE" in names
    product = {name for name in tracked() if name.split("/")[0] in PRODUCT}
    assert product == {name for name in names if not name.startswith(about)}
    assert {"vagent/config/agent.xsd", "introspect/static/style.css"} < product


def test_the_version_is_said_once(built: tuple[Path, Path]) -> None:
    """The package's own and that of the distribution are the same."""
    with zipfile.ZipFile(built[1]) as archive:
        about = archive.read(f"vagent-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in about
    assert "\nLicense-Expression: Apache-2.0\n" in about


def test_the_commands_work_where_it_is_installed(
    installed: Path, tmp_path: Path
) -> None:
    """Nothing of the checkout is in reach."""
    where = run(
        *(installed / "python", "-c", "import vagent; print(vagent.__file__)"),
        cwd=tmp_path,
    )
    assert where.startswith(str(installed.parent))
    assert f"vagent {__version__}\n" == run(installed / "vagent", "--version")
    for command in COMMANDS:
        assert f"usage: {command} " in run(installed / command, "--help", cwd=tmp_path)


def test_the_schema_is_found(installed: Path, tmp_path: Path) -> None:
    """A configuration is checked against it and printed."""
    conf = tmp_path / "agent.conf"
    conf.write_text("<config><agent><log-level>error</log-level></agent></config>")
    shown = run(installed / "vagent", "--config", conf, "--dump-config", cwd=tmp_path)
    assert "<log-level>error</log-level>" in shown


def test_the_pages_have_their_style(installed: Path, tmp_path: Path) -> None:
    """Served by introspection of the installed package."""
    style = (ROOT / "introspect/static/style.css").read_text()
    with pages(installed / "python", tmp_path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/", headers={"Accept": "text/html"})
        page = connection.getresponse().read().decode()
        connection.close()
    (shown,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style == shown


@contextmanager
def pages(python: Path, folder: Path) -> Iterator[int]:
    """Introspection as the interpreter has it; the port, until the end of the block."""
    program = folder / "a" / "b" / "introspect_process.py"
    program.parent.mkdir(parents=True)  # it looks for the checkout two folders up
    shutil.copy(Path(__file__).with_name(program.name), program)
    argv = ["timeout", str(60 * PATIENCE), str(python), str(program)]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()
