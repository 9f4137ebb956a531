"""The homepage of the config API: where vnc_api finds every path that it calls."""

from __future__ import annotations

from typing import Any

RESOURCES = ("global-vrouter-config", "global-system-config")
_ACTIONS = {"name-to-id": "fqname-to-id", "id-to-name": "id-to-fqname"}


def homepage(root: str) -> dict[str, Any]:
    """Links under `root` (`http://host:port`), in the form that vnc_api 2005 reads.

    vnc_api cuts `href` off each link to get a path, so all start with it.
    """
    links = []
    for name in RESOURCES:
        links.append(_link("collection", name, f"{root}/{name}s"))
        links.append(_link("resource-base", name, f"{root}/{name}"))
    for name, path in _ACTIONS.items():
        links.append(_link("action", name, f"{root}/{path}", method="POST"))
    return {"href": root, "links": links}


def _link(rel: str, name: str, href: str, **more: str) -> dict[str, dict[str, str]]:
    return {"link": {"rel": rel, "name": name, "href": href, **more}}
