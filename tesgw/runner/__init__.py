"""Runs a job on any machine with a Docker engine: inputs, executors one by one, outputs. Knows nothing of the gateway."""

from tesgw.runner.cleanup import discard, sweep
from tesgw.runner.engine import Engine, EngineInfo
from tesgw.runner.faults import EngineGone
from tesgw.runner.images import Registry
from tesgw.runner.sequence import Runner
from tesgw.runner.transfer import Transfers
from tesgw.runner.world import World

__all__ = ["Engine", "EngineGone", "EngineInfo", "Registry", "Runner", "Transfers", "World", "discard", "sweep"]
