"""Which requests are the same question: properties of the key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.metadata.http.cache_key import key_of
from vagent.metadata.http.request_head import RequestHead, parse_request_head

PATHS = st.lists(
    st.text("abcxyz0-_.~", min_size=1, max_size=8), min_size=1, max_size=4
).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.sampled_from(["", "?", "?a", "?a=b", "?b=a"])
VALUES = st.text("abc/*;=. ", min_size=1, max_size=10).map(str.strip)
FIELDS = st.dictionaries(
    st.sampled_from(["Accept", "User-Agent", "Content-Type"]), VALUES
)


def request(method: str, target: str, fields: dict[str, str]) -> RequestHead:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"
    parsed = parse_request_head(head.encode())
    assert isinstance(parsed, RequestHead), (head, parsed)
    return parsed


ASKED = st.tuples(PATHS, QUERIES, FIELDS)


@given(ASKED, ASKED)
def test_equal_keys_mean_equal_bytes_upstream(
    one: tuple[str, str, dict[str, str]], two: tuple[str, str, dict[str, str]]
) -> None:
    """Two GETs share a reply exactly if the upstream would be sent the same of both."""
    first, second = (request("GET", path + query, f) for path, query, f in (one, two))
    if not first.key or not second.key:
        return
    same_upstream = (first.target, first.forwarded) == (
        second.target,
        second.forwarded,
    )
    assert same_upstream == (first.key == second.key)


@given(ASKED)
def test_what_is_not_forwarded_is_not_in_the_key(
    asked: tuple[str, str, dict[str, str]],
) -> None:
    """Host, connection and any other header of a guest do not split the cache."""
    path, query, fields = asked
    more = {**fields, "X-Other": "1", "Cookie": "x", "Connection": "close"}
    assert request("GET", path + query, fields).key == (
        request("GET", path + query, more).key
    )


@given(ASKED)
def test_head_is_answered_by_get(asked: tuple[str, str, dict[str, str]]) -> None:
    """Both have one key."""
    path, query, fields = asked
    keys = {request(method, path + query, fields).key for method in ("GET", "HEAD")}
    assert 1 == len(keys)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_may_change_something_has_no_key(method: str) -> None:
    """Only GET and HEAD."""
    assert b"" == request(method, "/latest/meta-data/", {}).key


@pytest.mark.parametrize(
    "target",
    [
        "/openstack/latest/vendor_data2.json",
        "/openstack/latest/vendor_data2.json/",
        "/openstack//latest/./vendor_data2.json?x",
        "/openstack/latest/%76endor%5Fdata2.json",
        "/openstack/latest/VENDOR_DATA2.JSON",
        "/openstack/latest/%2576endor_data2.json",
        "/openstack/latest/vendor_data2.json;x",
        "/openstack/latest/password",
        "/openstack/2013-10-17/p%61ssword",
        "/openstack/x/../latest/password",
        "/openstack/latest/meta_data.json",
        "/openstack/2012-08-10/meta%5fdata%2ejson",
        "/latest/%C3%A9",
    ],
)
def test_never_kept(target: str) -> None:
    """Whatever the spelling: made for each request, secret, or holding a seed."""
    assert b"" == request("GET", target, {}).key


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/openstack",
        "/openstack/latest/",
        "/openstack/latest/vendor_data.json",
        "/openstack/latest/network_data.json",
        "/openstack/latest/user_data",
        "/latest/meta-data/instance-id",
        "/latest/user-data",
    ],
)
def test_what_boots_ask_has_a_key(target: str) -> None:
    """The rest of what cloud-init asks."""
    assert request("GET", target, {}).key == (
        key_of(b"GET", target.encode(), target.encode(), b"")
    )
    assert request("GET", target, {}).key
