"""Every authentication plug-in of keystoneauth1 can be configured."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest

from vagent.config import auth_plug_ins
from vagent.config.auth_plug_ins import (
    ENTRY_POINTS,
    METHODS,
    NOT_INSTALLED,
    PlugIn,
    PlugInError,
    normal,
)

EXTRAS = {"v3kerberos", "v3fedkerb", "v3oauth1", "v3adfspassword", "v3samlpassword"}
"""Need libraries that come with extras of keystoneauth1; there here or not."""


def plug_ins() -> list[str]:
    """Those that load without extras."""
    names = {one.name for one in entry_points(group=ENTRY_POINTS)}
    return sorted(names - EXTRAS)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "without_the_library" not in request.node.name:
        pytest.importorskip(
            "keystoneauth1", reason="the extra keystone is not installed"
        )


def test_every_plug_in_without_extras() -> None:
    """Each takes its required options, and makes something that authenticates."""
    from keystoneauth1.plugin import BaseAuthPlugin

    names = plug_ins()
    assert {"password", "v3applicationcredential", "none", "http_basic"} <= set(names)
    for name in names:
        plug_in = PlugIn(name)
        methods = ("v3password", "v3totp") if name == "v3multifactor" else ()
        options = plug_in.options(methods)
        values = {one.name: "1" for one in options.values() if one.is_required}
        if methods:
            values[METHODS] = ", ".join(methods)
        some = {"username", "user_domain_name", "discovery_endpoint", "endpoint"}
        some.add("application_credential_id")
        if name == "v3tokenlessauth":
            some.add("domain_id")
        values |= dict.fromkeys(some & options.keys(), "1")
        assert isinstance(plug_in.make(values), BaseAuthPlugin), name


def test_plug_ins_that_need_more_say_so() -> None:
    """Where the libraries of an extra are missing, they are named as missing."""
    for name in sorted(EXTRAS):
        try:
            options = PlugIn(name).options()
        except PlugInError as error:
            said = str(error)
            assert "libraries that it needs are not" in said, name
            assert "keystoneauth1" in said
        else:
            assert options


def test_options_know_what_is_secret() -> None:
    """By the plug-in's word, or by their name."""
    options = PlugIn("v3oidcpassword").options()
    secret = {one.name for one in options.values() if one.is_secret}
    assert {"password", "client_secret", "idp_otp_key"} <= secret
    assert "username" not in secret
    assert not options["auth_url"].is_secret


def test_values_are_parsed_as_the_plug_in_wants_them() -> None:
    """A port is a number; what is none is refused with the reason."""
    values = {
        "auth_url": "http://k/",
        "identity_provider": "i",
        "protocol": "p",
        "redirect_port": "8080",
    }
    assert PlugIn("v3websso").make(values).redirect_port == 8080
    with pytest.raises(PlugInError, match="invalid literal for int"):
        PlugIn("v3websso").make({**values, "redirect_port": "x"})


def test_an_unknown_plug_in() -> None:
    """The message lists those that there are."""
    with pytest.raises(PlugInError, match=r"got 'nope'; allowed: .*password.*v3totp"):
        PlugIn("nope")


class FakeDistribution:
    def __init__(self, name: str) -> None:
        self.name = name


class FakeEntryPoint:
    """A plug-in that says where it is from."""

    def __init__(self, name: str, package: str) -> None:
        self.name, self.value = name, f"{package}.x:Y"
        self.dist = FakeDistribution(package)

    def load(self) -> object:
        raise ImportError(f"{self.dist.name} is broken")


def test_another_package_may_replace_a_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what it is installed for; if it is broken, that is told."""
    both = [FakeEntryPoint("x", "other"), FakeEntryPoint("x", "keystoneauth1")]
    for found in (both, both[::-1]):
        monkeypatch.setattr(
            auth_plug_ins, "entry_points", lambda found=found, **_: found
        )
        with pytest.raises(PlugInError, match="x cannot be loaded: other is broken"):
            PlugIn("x")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told how to install it."""
    monkeypatch.setitem(sys.modules, "keystoneauth1", None)
    monkeypatch.setitem(sys.modules, "keystoneauth1.loading", None)
    with pytest.raises(PlugInError) as caught:
        PlugIn("password")
    assert NOT_INSTALLED == str(caught.value)


def test_names_without_dashes() -> None:
    """Dashes and underscores mean the same."""
    assert "user_domain_name" == normal("user-domain-name")
