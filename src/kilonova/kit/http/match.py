"""Which route a path and method mean: a tree of segments, static before parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kilonova.kit.http.route import Route

_PARAMETER = re.compile(r"^\{([a-z_][a-z0-9_]*)(?::(.+))?\}$")


class Leaf:
    """Routes of one path: by method, in the order given."""

    __slots__ = ("methods", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.methods: dict[str, list[Route]] = {}


class _Node:
    __slots__ = ("leaf", "parameters", "rest", "static")

    def __init__(self) -> None:
        self.static: dict[str, _Node] = {}
        self.parameters: list[tuple[str, re.Pattern[str] | None, _Node]] = []
        self.leaf: Leaf | None = None
        self.rest: Leaf | None = None


class Matcher:
    """The routes of one service under all its roots."""

    def __init__(self, routes: Iterable[Route], roots: Sequence[str]) -> None:
        self._root = _Node()
        for route in routes:
            for root in roots:
                self._add(root + route.path, route)

    def find(self, method: str, segments: list[str]) -> tuple[list[Route], dict[str, str], set[str]]:
        """The routes that `method` has here, the path's parameters, and the methods that the path has at all."""
        allowed: set[str] = set()
        found = self._walk(self._root, method, segments, 0, (), allowed)
        return (*found, allowed) if found else ([], {}, allowed)

    def _walk(
        self, node: _Node, method: str, segments: list[str], at: int, values: tuple[str, ...], allowed: set[str]
    ) -> tuple[list[Route], dict[str, str]] | None:
        if at == len(segments):
            return _take(node.leaf, method, values, allowed)
        segment = segments[at]
        child = node.static.get(segment)
        if child is not None and (found := self._walk(child, method, segments, at + 1, values, allowed)):
            return found
        if segment:
            for _, pattern, inner in node.parameters:
                if (pattern is None or pattern.fullmatch(segment)) and (
                    found := self._walk(inner, method, segments, at + 1, (*values, segment), allowed)
                ):
                    return found
        rest = "/".join(segments[at:])
        return _take(node.rest, method, (*values, rest), allowed) if rest else None

    def _add(self, path: str, route: Route) -> None:
        node, names = self._root, list[str]()
        steps = path.strip("/").split("/") if path.strip("/") else []
        for step in steps:
            form = _PARAMETER.match(step)
            if form is None:
                node = node.static.setdefault(step, _Node())
                continue
            names.append(form[1])
            if form[2] == "path":
                node.rest = node.rest or Leaf(tuple(names))
                node.rest.methods.setdefault(route.method, []).append(route)
                return
            node = _parameter(node, form[2] or "")
        if node.leaf is None:
            node.leaf = Leaf(tuple(names))
        if node.leaf.names != tuple(names):
            raise ValueError(f"{path}: parameters are named {node.leaf.names} by another route")
        node.leaf.methods.setdefault(route.method, []).append(route)


def _parameter(node: _Node, pattern: str) -> _Node:
    for known, _, child in node.parameters:
        if known == pattern:
            return child
    child = _Node()
    node.parameters.append((pattern, re.compile(pattern) if pattern else None, child))
    # A parameter with a pattern says more than one without, so it is asked first.
    node.parameters.sort(key=lambda p: p[0] == "")
    return child


def _take(
    leaf: Leaf | None, method: str, values: tuple[str, ...], allowed: set[str]
) -> tuple[list[Route], dict[str, str]] | None:
    if leaf is None:
        return None
    allowed.update(leaf.methods)
    routes = leaf.methods.get(method)
    if routes is None and method == "HEAD":
        routes = leaf.methods.get("GET")
    if routes is None:
        routes = leaf.methods.get("*")
    return (routes, dict(zip(leaf.names, values, strict=True))) if routes else None
