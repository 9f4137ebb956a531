"""All Sandesh requests that this agent answers: name, module, parameters, page.

Like Contrail's, module files (`agent.xml`, …) list the requests of a module, for forms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from introspect.page import Block, Form, FormField, Page
from introspect.pages.flows import flow_list
from introspect.pages.flows_contrail import (
    all_records,
    flow_info,
    flow_record,
    next_records,
)
from introspect.pages.interfaces import FILTERS, interfaces, page_request
from introspect.pages.linklocal import endpoint_list, not_in_force, service_info
from introspect.pages.metadata import clear_all_info, metadata_info
from introspect.pages.overview import init_state
from introspect.pages.statistics import statistics_info
from introspect.pages.traces import buffer_list, trace
from introspect.sandesh import STYLESHEET
from introspect.sources import Sources

PageMaker = Callable[[Sources, Mapping[str, str]], Page | Awaitable[Page]]
"""Makes a page, at once, or later if its facts have to be fetched."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of a request, with its Sandesh type and the default shown in forms."""

    name: str
    kind: str = "string"
    default: str = ""


@dataclass(frozen=True, slots=True)
class SandeshRequest:
    """One request, `Snh_<name>`. With `changes` it changes something, so browsers may
    not trigger it.
    """

    name: str
    module: str
    answer: PageMaker
    about: str
    parameters: tuple[Parameter, ...] = ()
    changes: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names in declaration order."""
        return tuple(each.name for each in self.parameters)


REQUESTS = (
    SandeshRequest("AgentInitStateReq", "agent", init_state, "Is the agent ready?"),
    SandeshRequest(
        "ItfReq",
        "agent",
        interfaces,
        "Guest interfaces that match every filter.",
        tuple(Parameter(name) for name in FILTERS),
    ),
    SandeshRequest(
        "LinkLocalServiceInfo", "agent", service_info, "The link-local services."
    ),
    SandeshRequest(
        "EndpointListReq", "agent", endpoint_list, "Fabric endpoints, and their health."
    ),
    SandeshRequest(
        "NotInForceListReq",
        "agent",
        not_in_force,
        "Services that guests cannot use, and why.",
    ),
    SandeshRequest(
        "PageReq",
        "agent",
        page_request,
        "One page of the interfaces, by its key.",
        (Parameter("key"),),
    ),
    SandeshRequest(
        "FetchAllFlowRecords", "pkt", all_records, "Flows, both directions."
    ),
    SandeshRequest(
        "FetchFlowRecord",
        "pkt",
        flow_record,
        "One direction of one flow.",
        (
            Parameter("nh", "i32", "0"),
            Parameter("sip"),
            Parameter("dip"),
            Parameter("src_port", "i32", "0"),
            Parameter("dst_port", "i32", "0"),
            Parameter("protocol", "u16", "0"),
        ),
    ),
    SandeshRequest("FetchLinkLocalFlowInfo", "pkt", flow_info, "Flows in short."),
    SandeshRequest(
        "NextFlowRecordsSet",
        "pkt",
        next_records,
        "One page of the flows, by its key.",
        (Parameter("flow_key"),),
    ),
    SandeshRequest(
        "SandeshTraceBufferListRequest", "sandesh_trace", buffer_list, "Trace buffers."
    ),
    SandeshRequest(
        "SandeshTraceRequest",
        "sandesh_trace",
        trace,
        "The lines of one trace buffer.",
        (Parameter("buf_name"), Parameter("count", "i32", "0")),
    ),
    SandeshRequest(
        "ClearAllInfo",
        "services",
        clear_all_info,
        "Start the metadata counters at 0 again (command-line tools only).",
        changes=True,
    ),
    SandeshRequest(
        "MetadataInfo", "services", metadata_info, "Metadata proxy counters."
    ),
    SandeshRequest(
        "FlowListReq",
        "vagent",
        flow_list,
        "Flows with guest, service and endpoint.",
        (Parameter("port"), Parameter("flow_key")),
    ),
    SandeshRequest(
        "StatisticsInfo", "vagent", statistics_info, "Everything that is counted."
    ),
)
BY_NAME = {request.name: request for request in REQUESTS}
MODULES = tuple(sorted({request.module for request in REQUESTS}))


def module_document(module: str) -> bytes:
    """The request list of a module, as Contrail's clients fetch it."""
    lines = [STYLESHEET, f'<{module} type="rlist">']
    for request in _of(module):
        lines.append(f'<{request.name} type="sandesh">')
        lines += [
            f'<{each.name} type="{each.kind}">{each.default}</{each.name}>'
            for each in request.parameters
        ]
        lines.append(f"</{request.name}>")
    lines.append(f"</{module}>\n")
    return "\n".join(lines).encode()


def module_page(module: str) -> Page:
    """The requests of a module as forms for people."""
    forms: tuple[Block, ...] = tuple(
        Form(
            f"/Snh_{each.name}",
            each.name,
            tuple(FormField(name, name) for name in each.names),
            each.about,
        )
        for each in _of(module)
        if not each.changes
    )
    return Page(f"Module {module}", "Requests that this module answers.", (), forms)


def _of(module: str) -> tuple[SandeshRequest, ...]:
    return tuple(each for each in REQUESTS if each.module == module)
