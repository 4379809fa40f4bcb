"""The choice: filter, weigh, and tell why."""

from __future__ import annotations

import random
from typing import Final

import numpy as np

from kilonova.cloud.scheduler.filters import FILTERS, Request
from kilonova.cloud.scheduler.snapshot import Snapshot
from kilonova.core.decision import Decision, Reason

BEST: Final = 8


def choose(snapshot: Snapshot, request: Request, chance: random.Random) -> Decision:
    """The best hosts for `request`, at most BEST of them, in order of preference, with the reasons against the others.

    Hosts with the most free memory come first; among equals the order is random, so that parallel choosers spread.
    """
    left = np.ones(len(snapshot), dtype=np.bool_)
    reasons = []
    for constraint in FILTERS:
        passes = constraint.passes(snapshot, request)
        removed = int(np.count_nonzero(left & ~passes))
        if removed:
            reasons.append(Reason(constraint.name, removed, constraint.nearest(snapshot, request, left & ~passes)))
            left &= passes
    candidates = np.flatnonzero(left)
    if len(candidates):
        candidates = _best(snapshot, candidates, chance)
    return Decision(len(snapshot), tuple(snapshot.ids[i] for i in candidates), tuple(reasons))


def _best(snapshot: Snapshot, candidates: np.ndarray, chance: random.Random) -> np.ndarray:
    free = snapshot.column("memory_free")[candidates]
    jitter = np.random.default_rng(chance.getrandbits(32)).random(len(candidates))
    count = min(BEST, len(candidates))
    # A shuffle first, then a partition by free memory: ties fall in random order, and nothing sorts 10,000 hosts.
    order = np.argsort(jitter)
    top = order[np.argpartition(-free[order], count - 1)[:count]]
    return candidates[top[np.argsort(-free[top], kind="stable")]]
