"""The conformance suite: `pytest --pyargs tesgw.conformance --tes-backend NAME`.

Here is what the author of a harness imports.
"""

from tesgw.conformance.harness import Fault, Harness

__all__ = ["Fault", "Harness"]
