"""An offline double of Azure Batch, to try the backend on a laptop and to test it."""

from __future__ import annotations

from tesgw_batch.fake_batch.clock import Clock
from tesgw_batch.fake_batch.service import FakeBatch
from tesgw_batch.fake_batch.world import Pace, Quotas

__all__ = ["Clock", "FakeBatch", "Pace", "Quotas"]
