"""`/limits` and `/os-quota-sets` (API reference "Limits", "Quota sets")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from kilonova.cloud.quota.model import Use
from kilonova.cloud.quota.service import QuotaService
from kilonova.core.errors import Forbidden, Invalid, NotBuilt
from kilonova.edge.openstack.compute.policy import PREFIX, owner_of
from kilonova.edge.openstack.compute.schema import BOOLEAN, TEXT, boxed, count, is_true, record, strict_from
from kilonova.kit.http import Request, Route, VersionedSchemas, multi

ProjectExists = Callable[[str], Awaitable[bool]]

_NETWORK: Final[Mapping[str, str]] = {
    "floating_ips": "floatingip", "security_groups": "security_group", "security_group_rules": "security_group_rule",
}  # fmt: skip
_FILES: Final = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_CORE: Final = (
    "instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members",
)  # fmt: skip
_ABSOLUTE: Final[Mapping[str, tuple[str, int]]] = {
    "maxServerMeta": ("metadata_items", 1000), "maxTotalInstances": ("instances", 1000),
    "maxTotalCores": ("cores", 1000), "maxTotalRAMSize": ("ram", 1000), "maxTotalKeypairs": ("key_pairs", 1000),
    "maxServerGroups": ("server_groups", 1000), "maxServerGroupMembers": ("server_group_members", 1000),
    "maxPersonality": ("injected_files", 57), "maxPersonalitySize": ("injected_file_content_bytes", 57),
    "maxImageMeta": ("metadata_items", 39), "maxSecurityGroups": ("security_group", 36),
    "maxSecurityGroupRules": ("security_group_rule", 36), "maxTotalFloatingIps": ("floatingip", 36),
}  # fmt: skip
"""Resource of each limit, and the minor version that no longer shows it."""
_USED: Final[Mapping[str, tuple[str, int]]] = {
    "totalInstancesUsed": ("instances", 1000), "totalCoresUsed": ("cores", 1000), "totalRAMUsed": ("ram", 1000),
    "totalServerGroupsUsed": ("server_groups", 1000), "totalSecurityGroupsUsed": ("security_group", 36),
    "totalFloatingIpsUsed": ("floatingip", 36),
}  # fmt: skip

_NUMBER: Final = count(-1)
_USER: Final = strict_from(75, {1: {"user_id": multi(TEXT)}})
_LIMITS: Final = strict_from(75, {1: {"tenant_id": multi(TEXT)}})


def _names(minor: int) -> tuple[str, ...]:
    """The names of a quota set at a minor version."""
    return (
        *_CORE,
        *(("fixed_ips", *_NETWORK) if minor < 36 else ()),
        *(_FILES if minor < 57 else ()),
    )


def _update(minor: int) -> dict[str, Any]:
    return dict(boxed("quota_set", record({**dict.fromkeys(_names(minor), _NUMBER), "force": BOOLEAN})))


def _class_names(minor: int) -> tuple[str, ...]:
    """Those of a quota class, which had no server groups at first, and networks' limits until then."""
    groups = ("server_groups", "server_group_members")
    if minor >= 50:
        return tuple(name for name in _names(minor) if name not in ("fixed_ips", *_NETWORK))
    return tuple(name for name in _names(1) if name not in groups)


def _update_class(minor: int) -> dict[str, Any]:
    return dict(boxed("quota_class_set", record(dict.fromkeys(_class_names(minor), _NUMBER))))


_CLASS: Final = "/os-quota-class-sets/{class_id}"
_UPDATE_CLASS: Final = VersionedSchemas({(2, minor): _update_class(minor) for minor in (1, 50, 57)})
_UPDATE: Final = VersionedSchemas({(2, minor): _update(minor) for minor in (1, 36, 57)})


class QuotaRoutes:
    """Handlers of limits and quota sets. `project_exists` tells whether there is such a project."""

    def __init__(self, quotas: QuotaService, project_exists: ProjectExists) -> None:
        self._quotas = quotas
        self._project_exists = project_exists

    def routes(self) -> list[Route]:
        one, rule = "/os-quota-sets/{tenant_id}", f"{PREFIX}os-quota-sets:"

        async def target(request: Request) -> dict[str, str | None]:
            return {"project_id": request.params["tenant_id"]}

        return [
            Route("GET", "/limits", self.show_limits, f"{PREFIX}limits", query=_LIMITS),
            Route("GET", one, self.show, f"{rule}show", query=_USER, target=target),
            Route("PUT", one, self.update, f"{rule}update", schema=_UPDATE, query=_USER, target=target),
            Route("DELETE", one, self.delete, f"{rule}delete", query=_USER, success=202, target=target),
            Route("GET", f"{one}/detail", self.show_detail, f"{rule}detail", query=_USER, target=target),
            Route("GET", f"{one}/defaults", self.show_defaults, f"{rule}defaults", target=target),
            Route("GET", _CLASS, self.show_class, f"{PREFIX}os-quota-class-sets:show"),
            Route("PUT", _CLASS, self.update_class, f"{PREFIX}os-quota-class-sets:update", schema=_UPDATE_CLASS),
        ]

    async def show_limits(self, request: Request) -> dict[str, Any]:
        project = owner_of(request.context)
        asked = request.query_one("tenant_id")
        if asked is not None and asked != project:
            rule = f"{PREFIX}limits:other_project"
            if not request.permits(rule):
                raise Forbidden(f"Policy doesn't allow {rule} to be performed.", rule=rule)
            project = asked
        uses, minor = await self._quotas.uses(project), request.version[1]
        limits = {name: uses[r].limit for name, (r, until) in _ABSOLUTE.items() if minor < until}
        used = {name: uses[r].used for name, (r, until) in _USED.items() if minor < until}
        return {"limits": {"rate": [], "absolute": {**limits, **used}}}

    async def show(self, request: Request) -> dict[str, Any]:
        project = await self._project(request)
        uses = await self._quotas.uses(project)
        return {"quota_set": {"id": project, **_shown(uses, request)}}

    async def show_detail(self, request: Request) -> dict[str, Any]:
        project = await self._project(request)
        uses = await self._quotas.uses(project)
        details = {
            name: {"limit": limit, "in_use": _use(uses, name).used, "reserved": 0}
            for name, limit in _shown(uses, request).items()
        }
        return {"quota_set": {"id": project, **details}}

    async def show_defaults(self, request: Request) -> dict[str, Any]:
        project = await self._project(request)
        uses = await self._defaults()
        return {"quota_set": {"id": project, **_shown(uses, request)}}

    async def show_class(self, request: Request) -> dict[str, Any]:
        """What projects have that have no limits of their own; no other class means anything, as in Nova."""
        return {"quota_class_set": {"id": request.params["class_id"], **_class(await self._defaults(), request)}}

    async def update_class(self, request: Request) -> dict[str, Any]:
        """API reference "Create or Update Quotas for Quota Class"."""
        if request.params["class_id"] != "default":
            raise NotBuilt("There is no quota class but the default one")
        given = dict(request.json["quota_class_set"])
        if int(given.pop("fixed_ips", -1)) != -1:
            raise NotBuilt("There is no quota of fixed addresses; the network service limits ports")
        await self._quotas.set_defaults({_NETWORK.get(name, name): int(value) for name, value in given.items()})
        return {"quota_class_set": _class(await self._defaults(), request)}

    async def _defaults(self) -> dict[str, Use]:
        return {name: Use(name, limit, 0) for name, limit in (await self._quotas.defaults()).items()}

    async def update(self, request: Request) -> dict[str, Any]:
        if request.query_one("user_id") is not None:
            raise NotBuilt("Quotas of single users are not implemented")
        project = await self._project(request)
        given = dict(request.json["quota_set"])
        force = is_true(given.pop("force", False))
        if int(given.pop("fixed_ips", -1)) != -1:
            raise NotBuilt("There is no quota of fixed addresses; the network service limits ports")
        limits = {_NETWORK.get(name, name): int(value) for name, value in given.items()}
        return {"quota_set": _shown(await self._quotas.set(project, limits, force=force), request)}

    async def delete(self, request: Request) -> None:
        if request.query_one("user_id") is not None:
            raise NotBuilt("Quotas of single users are not implemented")
        await self._quotas.reset(await self._project(request))

    async def _project(self, request: Request) -> str:
        project = request.params["tenant_id"]
        if project != request.context.project_id and not await self._project_exists(project):
            raise Invalid(f"Project ID {project[:64]} is not a valid project.")
        return project


def _use(uses: Mapping[str, Use], name: str) -> Use:
    return Use(name, -1, 0) if name == "fixed_ips" else uses[_NETWORK.get(name, name)]


def _class(uses: Mapping[str, Use], request: Request) -> dict[str, int]:
    return {name: _use(uses, name).limit for name in _class_names(request.version[1])}


def _shown(uses: Mapping[str, Use], request: Request) -> dict[str, int]:
    return {name: _use(uses, name).limit for name in _names(request.version[1])}
