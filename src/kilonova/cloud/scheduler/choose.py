"""The choice: filter, weigh, and tell why."""

from __future__ import annotations

import random
from typing import Final

import numpy as np

from kilonova.cloud.scheduler.filters import FILTERS, Request, meets
from kilonova.cloud.scheduler.snapshot import Numbers, Snapshot
from kilonova.core.decision import Decision, Reason

BEST: Final = 8
LIKED: Final = 1 << 40
"""MiB that a host seems to have more for each server that another one wants to be with."""


def choose(snapshot: Snapshot, request: Request, chance: random.Random) -> Decision:
    """The best hosts for `request`, at most BEST of them, in order of preference, with the reasons against others.

    Hosts that the request likes come first, then those with the most free memory; among equals the order is random, so
    that parallel choosers spread.
    """
    left = np.ones(len(snapshot), dtype=np.bool_)
    reasons = []
    for constraint in FILTERS:
        passes = constraint.passes(snapshot, request)
        removed = int(np.count_nonzero(left & ~passes))
        if removed:
            reasons.append(Reason(constraint.name, removed, constraint.nearest(snapshot, request, left & ~passes)))
            left &= passes
    for wish in request.wishes:
        passes = meets(snapshot, wish)
        if removed := int(np.count_nonzero(left & ~passes)):
            reasons.append(Reason(wish.name, removed))
            left &= passes
    candidates = np.flatnonzero(left)
    if len(candidates):
        candidates = _best(snapshot, candidates, _weights(snapshot, request), chance)
    return Decision(len(snapshot), tuple(snapshot.ids[i] for i in candidates), tuple(reasons))


def _weights(snapshot: Snapshot, request: Request) -> Numbers:
    """Free memory; what a server likes counts more than any of that."""
    weights = snapshot.column("memory_free")
    for wish in request.wishes:
        for host_id, liking in wish.liking.items():
            if (at := snapshot.position(host_id)) is not None:
                weights = weights.copy() if weights is snapshot.column("memory_free") else weights
                weights[at] += liking * LIKED
    return weights


def _best(snapshot: Snapshot, candidates: np.ndarray, weights: Numbers, chance: random.Random) -> np.ndarray:
    free = weights[candidates]
    jitter = np.random.default_rng(chance.getrandbits(32)).random(len(candidates))
    count = min(BEST, len(candidates))
    # A shuffle first, then a partition by free memory: ties fall in random order, and nothing sorts 10,000 hosts.
    order = np.argsort(jitter)
    top = order[np.argpartition(-free[order], count - 1)[:count]]
    return candidates[top[np.argsort(-free[top], kind="stable")]]
