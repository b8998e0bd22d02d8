"""What the API needs of the gateway, and what it says about it: service-info."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from tesgw.api.openapi import endpoint
from tesgw.api.parameters import MISSING_OUTPUTS
from tesgw.api.schemas import OldServiceInfoSchema, ServiceInfoSchema
from tesgw.model import MissingOutputs
from tesgw.store import TaskStore

DESCRIPTION = "A GA4GH Task Execution Service whose compute backends are plugins."


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All that the API knows of the gateway. `app.py` makes it."""

    store: TaskStore
    backend: str
    """Where new tasks go."""
    backend_parameters: Mapping[str, str]
    """What that backend understands, keys in lower case; core's own `missing_outputs` comes on top."""
    has_zones: bool
    has_preemptible: bool
    storage: tuple[str, ...]
    missing_outputs: MissingOutputs | None
    """For every task that does not say; None: a warning for tasks of TES 1.0, an error for those of 1.1."""
    site_name: str
    organization_name: str
    organization_url: str
    cors_origins: tuple[str, ...]
    is_loopback: bool
    """Bound to loopback: requests for any other host are refused."""
    wake: Callable[[str], None]
    """Tell the scheduler that this task wants a step."""
    now: Callable[[], datetime]

    @property
    def supported_parameters(self) -> frozenset[str]:
        """Keys of `resources.backend_parameters` that have an effect, in lower case."""
        return frozenset({*self.backend_parameters, MISSING_OUTPUTS})


def version() -> str:
    """The gateway's version, also when it runs from a checkout."""
    try:
        return importlib.metadata.version("tesgw")
    except importlib.metadata.PackageNotFoundError:
        return "0.0.0"


class ServiceInfo:
    """The service-info answers. They change only with the settings, so they are made once."""

    def __init__(self, service: Service) -> None:
        self._new = orjson.dumps(_service_info(service))
        self._old = orjson.dumps({"name": service.site_name, "doc": DESCRIPTION, "storage": service.storage})

    @endpoint("GetServiceInfo", answer=ServiceInfoSchema)
    async def get(self, request: web.Request) -> web.Response:
        """About this service, its storage and the backend parameters it supports."""
        return web.Response(body=self._new, content_type="application/json")

    @endpoint("GetOldServiceInfo", answer=OldServiceInfoSchema)
    async def get_old(self, request: web.Request) -> web.Response:
        """About this service, as TES 1.0 has it."""
        return web.Response(body=self._old, content_type="application/json")


def _service_info(service: Service) -> dict[str, Any]:
    host = URL(service.organization_url).host or "localhost"
    return {
        "id": ".".join((*reversed(host.split(".")), "tesgw")),
        "name": service.site_name,
        "type": {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"},
        "description": DESCRIPTION,
        "organization": {"name": service.organization_name, "url": service.organization_url},
        "version": version(),
        "storage": service.storage,
        "tesResources_backend_parameters": sorted(service.supported_parameters),
    }
