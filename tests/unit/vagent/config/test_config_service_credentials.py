"""Promises on `<service-credentials>`: plug-ins of keystoneauth1 and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from vagent.config.dump import dump_config
from vagent.config.model import AgentConfig, AuthOption, ServiceCredentials
from vagent.config.read import read_config
from vagent.errors import ConfigError

pytest.importorskip("keystoneauth1", reason="the extra keystone is not installed")

SECRET = "<metadata-proxy><shared-secret>x</shared-secret></metadata-proxy>"
PASSWORD = """<auth-type>password</auth-type>
<auth-options>
  <auth_url>http://keystone:5000/v3</auth_url>
  <username>nova</username>
  <password>pw &amp; more</password>
  <project-name>service</project-name>
  <user-domain-name>Default</user-domain-name>
  <project_domain_name>Default</project_domain_name>
</auth-options>"""


class Load(Protocol):
    def __call__(
        self, content: str, more: str = ..., mode: int = ...
    ) -> tuple[AgentConfig, list[str]]: ...


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read the content of the section; the configuration and what was warned of."""

    def read(
        content: str, more: str = "", mode: int = 0o600
    ) -> tuple[AgentConfig, list[str]]:
        path = tmp_path / "agent.conf"
        path.touch()
        path.chmod(mode)
        path.write_text(
            f"<agent>{SECRET}{more}"
            f"<service-credentials>{content}</service-credentials></agent>"
        )
        loaded = read_config(path)
        return loaded.config, [_line(each) for each in loaded.warnings]

    return read


def _line(problem: object) -> str:
    return str(problem).partition("/agent/")[2].removeprefix("service-credentials/")


def refusals(load: Load, content: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(content)
    return [_line(each) for each in caught.value.problems]


def test_nothing_is_no_account(load: Load) -> None:
    """Also where elements are there and empty."""
    assert load("")[0].service_credentials is None
    assert load("<auth-type/><auth-options/>")[0].service_credentials is None


def test_a_password(load: Load) -> None:
    """Dashes and underscores are one; what is secret is known from the plug-in."""
    config, warned = load(f"{PASSWORD}<timeout>2.5</timeout>")
    assert [] == warned
    assert config.service_credentials == ServiceCredentials(
        "password",
        (
            AuthOption("auth_url", "http://keystone:5000/v3", is_secret=False),
            AuthOption("username", "nova", is_secret=False),
            AuthOption("password", "pw & more", is_secret=True),
            AuthOption("project_name", "service", is_secret=False),
            AuthOption("user_domain_name", "Default", is_secret=False),
            AuthOption("project_domain_name", "Default", is_secret=False),
        ),
        timeout=2.5,
    )
    assert "pw & more" not in repr(config)


def test_a_secret_in_a_file(load: Load, tmp_path: Path) -> None:
    """One newline at its end is not part of it; a bad file is told with its place."""
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    inline = "<password>pw &amp; more</password>"
    content = PASSWORD.replace(inline, f'<password file="{file}"/>')
    credentials = load(content, mode=0o644)[0].service_credentials
    assert credentials is not None
    assert "s3cret" in [one.value for one in credentials.options]
    file.unlink()
    (line,) = refusals(load, content)
    assert line.startswith("auth-options/password/@file: cannot read")


def test_a_secret_that_others_may_read(load: Load) -> None:
    """The mode of agent.conf matters for it as for the shared secret."""
    warned = load(PASSWORD, mode=0o644)[1]
    assert any(
        one.startswith("auth-options/password: the file holds") for one in warned
    )
    assert not any("username" in one for one in warned)


def test_the_dump_reads_back(load: Load, tmp_path: Path) -> None:
    """With every option, secrets masked."""
    config = load(PASSWORD)[0]
    text = dump_config(config)
    assert "<password>***</password>" in text
    assert "pw &amp; more" not in text
    (tmp_path / "dump").write_text(text)
    again = read_config(tmp_path / "dump").config.service_credentials
    assert config.service_credentials is not None
    assert again is not None
    assert [one.name for one in config.service_credentials.options] == [
        one.name for one in again.options
    ]


def test_older_names_of_options(load: Load) -> None:
    """What nova.conf has been taking for years."""
    old = PASSWORD.replace("username>", "user-name>").replace("project-", "tenant-")
    credentials = load(old)[0].service_credentials
    assert credentials is not None
    assert {"username", "project_name"} <= {one.name for one in credentials.options}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<auth-type>pasword</auth-type>", "auth-type: got 'pasword'; allowed: admin_"),
        ("<auth-type>password</auth-type>", "auth-options: Auth plugin requires"),
        ("<auth-type>a b</auth-type>", "auth-type: got 'a b'; allowed: the name of a"),
        (
            "<auth-options><auth_url>x</auth_url></auth-options>",
            "auth-type: no plug-in is named",
        ),
        (
            PASSWORD.replace("username>", "usernam>"),
            "auth-options/usernam: password has no option usernam; nearest known name:"
            " username; allowed: auth_url, default_domain_id",
        ),
        (
            PASSWORD.replace("<username>", "<user_name>x</user_name><username>"),
            "auth-options/username: the option username is given twice",
        ),
        (
            PASSWORD.replace("<username>", "<username>x</username><username>"),
            "auth-options/username[2]: given again; allowed: once",
        ),
        (
            PASSWORD.replace("<username>", "<username><a/>"),
            "auth-options/username/a: unknown element <a>",
        ),
        (
            PASSWORD.replace("<username>", '<username secret="x">'),
            "auth-options/username/@secret: unknown attribute secret; nearest known"
            " name: file",
        ),
        (
            PASSWORD.replace("<auth-options>", "<auth-options>text"),
            "auth-options: text between elements",
        ),
        (
            PASSWORD.replace("username>", "ä>"),
            "auth-options/ä: unknown element <ä>; allowed in <auth-options>: letters",
        ),
    ],
)
def test_what_is_refused(load: Load, content: str, said: str) -> None:
    """Each mistake is one line that names its place and what may be."""
    (line,) = refusals(load, content)
    assert line.startswith(said)


def test_several_mistakes_are_told_at_once(load: Load) -> None:
    """And the plug-in is not asked about the rest."""
    lines = refusals(
        load,
        "<auth-type>password</auth-type><auth-options><a>1</a><b>2</b></auth-options>",
    )
    assert ["auth-options/a", "auth-options/b"] == [
        one.partition(":")[0] for one in lines
    ]


def test_tokens_in_the_clear(load: Load) -> None:
    """They are worth a warning, but on loopback."""
    more = (
        "<metadata-server><enabled>true</enabled></metadata-server><vendordata>"
        "<dynamic-targets>a@http://10.0.0.1/ b@http://127.0.0.1/ c@https://h/"
        "</dynamic-targets></vendordata>"
    )
    assert [
        "vendordata/dynamic-targets: tokens of service-credentials go to a over plain"
        " HTTP"
    ] == load(PASSWORD, more)[1]
    path = [
        one
        for one in load("", more)[1]
        if one.startswith("vendordata/dynamic-targets: tokens")
    ]
    assert [] == path
