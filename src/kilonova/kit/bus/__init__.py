"""Hints and questions between processes: a small port, an in-process adapter, a faulty one for rehearsing loss."""

from kilonova.kit.bus.local import LocalBus
from kilonova.kit.bus.port import Bus

__all__ = ["Bus", "LocalBus"]
