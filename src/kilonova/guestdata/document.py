"""Which bytes a path of the metadata service answers for a guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kilonova.guestdata import ec2, openstack
from kilonova.wire.guest import GuestSpec
from kilonova.wire.network import NetworkDoc

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """What a path holds."""

    body: bytes
    content_type: str = TEXT


def find_page(spec: GuestSpec, path: str, networks: Mapping[str, NetworkDoc], seed: bytes) -> Page | None:
    """The page at `path` (percent-decoded, without query); None when there is none. Paths outside `/openstack` are
    EC2's, with or without `/ec2` before them; empty segments and a slash at the end do not matter."""
    names = tuple(name for name in path.split("/") if name)
    if names[:1] == ("openstack",):
        return _openstack(spec, names[1:], networks, seed)
    return _ec2(spec, names[1:] if names[:1] == ("ec2",) else names)


def _openstack(spec: GuestSpec, names: tuple[str, ...], networks: Mapping[str, NetworkDoc], seed: bytes) -> Page | None:
    if not names:
        return _lines(openstack.VERSIONS.listed)
    if names[0] == "content" and len(names) == 2:
        found = openstack.contents(spec).get(names[1])
        return None if found is None else Page(found, "application/octet-stream")
    version = openstack.VERSIONS.resolve(names[0])
    if version is None or len(names) > 2:
        return None
    if len(names) == 1:
        return _lines(openstack.listing(spec, version))
    body = openstack.read(spec, version, names[1], networks, seed)
    if body is None:
        return None
    return Page(body, JSON if names[1].endswith(".json") else TEXT)


def _ec2(spec: GuestSpec, names: tuple[str, ...]) -> Page | None:
    if not names:
        return _lines(ec2.VERSIONS.listed)
    version = ec2.VERSIONS.resolve(names[0])
    body = None if version is None else ec2.read(spec, version, names[1:])
    return None if body is None else Page(body)


def _lines(lines: tuple[str, ...]) -> Page:
    return Page("\n".join(lines).encode())
