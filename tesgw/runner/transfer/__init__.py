"""Moving files between a task and where its URLs say; one storage scheme a file."""

from tesgw.runner.transfer.transfers import Transfers

__all__ = ["Transfers"]
