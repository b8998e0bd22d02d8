"""The HTTP API: TES 1.0 and 1.1 over a `TaskStore`."""

from tesgw.api.connections import serving
from tesgw.api.routes import make_app
from tesgw.api.service import Service

__all__ = ["Service", "make_app", "serving"]
