"""`/extensions`: which parts of the API are there, by the aliases that older clients ask for. Only what is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kilonova.core.errors import NotFound
from kilonova.edge.openstack.compute.policy import PREFIX
from kilonova.kit.http import Request, Route

UPDATED: Final = "2014-12-03T00:00:00Z"
BUILT: Final[Mapping[str, str]] = {
    "OS-DCF": "DiskConfig",
    "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus",
    "OS-FLV-DISABLED": "FlavorDisabled",
    "OS-FLV-EXT-DATA": "FlavorExtraData",
    "OS-SRV-USG": "ServerUsage",
    "extensions": "Extensions",
    "flavors": "Flavors",
    "ips": "Ips",
    "limits": "Limits",
    "os-aggregates": "Aggregates",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-extended-volumes": "ExtendedVolumes",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-flavor-rxtx": "FlavorRxtx",
    "os-flavor-swap": "FlavorSwap",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-multiple-create": "MultipleCreate",
    "os-quota-sets": "Quotas",
    "os-server-sort-keys": "ServerSortKeys",
    "os-server-start-stop": "ServerStartStop",
    "os-services": "Services",
    "os-used-limits": "UsedLimits",
    "os-user-data": "UserData",
    "server-metadata": "ServerMetadata",
    "servers": "Servers",
    "versions": "Versions",
}


class ExtensionRoutes:
    """Handlers of the list."""

    def routes(self) -> list[Route]:
        rule = f"{PREFIX}extensions"
        return [
            Route("GET", "/extensions", self.list, rule),
            Route("GET", "/extensions/{alias}", self.show, rule),
        ]

    async def list(self, request: Request) -> dict[str, Any]:
        return {"extensions": [_view(alias) for alias in BUILT]}

    async def show(self, request: Request) -> dict[str, Any]:
        alias = request.params["alias"]
        if alias not in BUILT:
            raise NotFound("The resource could not be found.")
        return {"extension": _view(alias)}


def _view(alias: str) -> dict[str, Any]:
    name = BUILT[alias]
    return {"alias": alias, "name": name, "description": name, "links": [], "namespace": "", "updated": UPDATED}
