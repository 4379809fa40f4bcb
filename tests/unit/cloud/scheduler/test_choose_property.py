"""The choice over arrays is that of a slow one that anybody can read."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kilonova.cloud.host.model import Host
from kilonova.cloud.scheduler.choose import BEST, LIKED, choose
from kilonova.cloud.scheduler.filters import Request, Wish
from kilonova.cloud.scheduler.snapshot import Snapshot

HOST = Host(
    id="", name="", up=True, enabled=True, disabled_reason="", zone="nova", boot_id="", incarnation="",
    hypervisor_type="QEMU", hypervisor_version=1, architecture="x86_64", cpu_info="", vcpus_total=8, memory_total=8192,
    disk_total=100, vcpus_capacity=8, memory_capacity=8192, disk_capacity=100, memory_overhead=0, vcpus_used=0,
    memory_used=0, disk_used=0, report_seq=0, version=1, created_at=0, updated_at=0,
)  # fmt: skip
NAMES = [f"h{n}" for n in range(6)]
some = st.frozensets(st.sampled_from([*NAMES, "unknown"]))
hosts = st.fixed_dictionaries(
    {
        "up": st.booleans(), "enabled": st.booleans(), "zone": st.sampled_from(["nova", "east"]),
        "vcpus_used": st.integers(0, 9), "memory_used": st.integers(0, 8192), "disk_used": st.integers(0, 110),
        "memory_overhead": st.sampled_from([0, 64]),
    }
)  # fmt: skip
wishes = st.builds(
    Wish, st.just("wish"), among=st.none() | some, without=some,
    query=st.sampled_from(["", '[">", "$free_ram_mb", 4000]', '["not", ["in", "$host", "h1", "h2"]]']),
    liking=st.dictionaries(st.sampled_from(NAMES), st.integers(-3, 3), max_size=3),
)  # fmt: skip
requests = st.builds(
    Request, st.integers(1, 8), st.integers(1, 8192), st.integers(0, 100), zone=st.none() | st.just("east"),
    host=st.none() | st.sampled_from(NAMES), exclude=some, among=st.none() | some,
    wishes=st.lists(wishes, max_size=2).map(tuple),
)  # fmt: skip


def fits(host: Host, wanted: Request) -> bool:
    """Every condition in words."""
    return all(
        (
            host.up and host.enabled,
            wanted.host is None or wanted.host in (host.id, host.name),
            wanted.zone is None or wanted.zone == host.zone,
            host.id not in wanted.exclude,
            host.vcpus_capacity - host.vcpus_used >= wanted.vcpus,
            host.memory_capacity - host.memory_used >= wanted.memory_mb + host.memory_overhead,
            host.disk_capacity - host.disk_used >= wanted.disk_gb,
            wanted.among is None or host.id in wanted.among,
            *(grants(host, wish) for wish in wanted.wishes),
        )
    )


def grants(host: Host, wish: Wish) -> bool:
    free = host.memory_capacity - host.memory_used
    asked = {"": True, '[">", "$free_ram_mb", 4000]': free > 4000}.get(wish.query, host.name not in ("h1", "h2"))
    return asked and (wish.among is None or host.id in wish.among) and host.id not in wish.without


def weight(host: Host, wanted: Request) -> int:
    liked = sum(wish.liking.get(host.id, 0) for wish in wanted.wishes)
    return host.memory_capacity - host.memory_used + liked * LIKED


@settings(max_examples=300, deadline=None)
@given(st.lists(hosts, min_size=1, max_size=6), requests, st.integers(0, 99))
def test_the_fast_choice_is_the_slow_one(states: list[dict[str, object]], wanted: Request, seed: int) -> None:
    known = [replace(HOST, id=n, name=n, **s) for n, s in zip(NAMES, states, strict=False)]  # type: ignore[arg-type]
    found = choose(Snapshot(known), wanted, random.Random(seed))
    expected = [host for host in known if fits(host, wanted)]
    assert {host.id for host in expected} == set(found.chosen) if len(expected) <= BEST else True
    weights = [weight(next(h for h in known if h.id == chosen), wanted) for chosen in found.chosen]
    assert weights == sorted(weights, reverse=True)
    assert sum(reason.removed for reason in found.reasons) == len(known) - len(expected)
