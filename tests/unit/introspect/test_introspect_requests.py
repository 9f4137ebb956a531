"""Promises of introspect.requests."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree
from twisted.internet.defer import Deferred

from introspect.page import Form, Page
from introspect.requests import (
    BY_NAME,
    MODULES,
    REQUESTS,
    SandeshRequest,
    module_document,
    module_page,
)
from introspect.sandesh import STYLESHEET, document


def test_module_files_are_contrails() -> None:
    """Names with their parameters, types and defaults, one line each."""
    expected = (
        f"{STYLESHEET}\n"
        '<sandesh_trace type="rlist">\n'
        '<SandeshTraceBufferListRequest type="sandesh">\n'
        "</SandeshTraceBufferListRequest>\n"
        '<SandeshTraceRequest type="sandesh">\n'
        '<buf_name type="string"></buf_name>\n'
        '<count type="i32">0</count>\n'
        "</SandeshTraceRequest>\n"
        "</sandesh_trace>\n"
    )
    assert module_document("sandesh_trace") == expected.encode()


def test_requests_are_where_contrail_has_them() -> None:
    """Metadata is in services.xml, link-local and interfaces are in agent.xml."""
    assert MODULES == ("agent", "pkt", "sandesh_trace", "services", "vagent")
    modules = {request.name: request.module for request in REQUESTS}
    assert modules["MetadataInfo"] == modules["ClearAllInfo"] == "services"
    assert modules["FetchAllFlowRecords"] == modules["FetchFlowRecord"] == "pkt"
    assert modules["LinkLocalServiceInfo"] == modules["ItfReq"] == "agent"


@pytest.mark.parametrize("module", MODULES)
def test_module_files_are_well_formed(module: str) -> None:
    """Every module file can be parsed and names its module."""
    root = etree.fromstring(module_document(module).decode())
    assert (root.tag, root.get("type")) == (module, "rlist")


def test_itfreq_takes_contrails_parameters_in_order() -> None:
    """Positional clients rely on the order."""
    assert BY_NAME["ItfReq"].names == (
        *("name", "type", "uuid", "vn", "mac", "ipv4_address", "ipv6_address"),
        *("parent_uuid", "ip_active", "ip6_active", "l2_active"),
    )


def test_forms_do_not_offer_what_browsers_may_not_do() -> None:
    """People see a form for each request that changes nothing."""
    forms = module_page("services").shown()
    assert [form.action for form in forms if isinstance(form, Form)] == [
        "/Snh_MetadataInfo"
    ]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.name)
def test_every_request_answers_without_arguments(
    world: Any, request_: SandeshRequest
) -> None:
    """An agent that has nothing yet answers every request with well-formed XML."""
    pages: list[Page] = []

    async def ask() -> Page:
        page = request_.answer(world.sources(), {})
        return page if isinstance(page, Page) else await page

    Deferred.fromCoroutine(ask()).addCallback(pages.append)
    (page,) = pages
    etree.fromstring(document(page.parts, is_list=page.is_list).decode())
    assert page.title
    assert page.about
