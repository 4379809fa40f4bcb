"""Imports and their tasks (API reference "Interoperable image import" and "Tasks")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from kilonova.cloud.image.importing import METHODS, WEB, ImageImports
from kilonova.cloud.image.model import OLD, NewImage, Task
from kilonova.cloud.image.service import ImageService
from kilonova.cloud.image.task_store import SORT_COLUMNS
from kilonova.core.errors import Failure, Forbidden, Invalid
from kilonova.edge.openstack.image.ask import read_limit
from kilonova.edge.openstack.image.schema import WRITABLE
from kilonova.edge.openstack.image.view import moment
from kilonova.kit.http import AUTHENTICATED, Request, Response, Route

_IMPORT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "method": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "uri": {"type": "string", "maxLength": 2048}},
            "additionalProperties": False,
            "required": ["name"],
        },
        "stores": {"type": "array", "items": {"type": "string"}},
        "all_stores": {"type": "boolean"},
        "all_stores_must_succeed": {"type": "boolean"},
    },
    "additionalProperties": False,
    "required": ["method"],
}
_TASK: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"enum": [OLD]},
        "input": {
            "type": "object",
            "properties": {
                "import_from": {"type": "string", "maxLength": 2048},
                "import_from_format": {"type": "string"},
                "image_properties": {
                    "type": "object",
                    "properties": {
                        name: WRITABLE[name] for name in ("name", "disk_format", "container_format", "visibility")
                    },
                    "additionalProperties": False,
                    "required": ["disk_format", "container_format"],
                },
            },
            "additionalProperties": False,
            "required": ["import_from", "image_properties"],
        },
    },
    "additionalProperties": False,
    "required": ["type", "input"],
}
_STATUSES: Final = ("pending", "processing", "success", "failure")


class TaskEdge:
    """Handlers of imports and of `/v2/tasks`."""

    def __init__(self, images: ImageService, imports: ImageImports) -> None:
        self._images = images
        self._imports = imports

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST", "/v2/images/{image_id}/import", self.begin, "modify_image", schema=_IMPORT, success=202
            ),
            Route("GET", "/v2/images/{image_id}/tasks", self.list_of_image, "get_image"),
            Route("POST", "/v2/tasks", self.create, "add_task", schema=_TASK, success=201),
            Route("GET", "/v2/tasks", self.list, "get_tasks"),
            Route("GET", "/v2/tasks/{task_id}", self.show, "get_task"),
            Route("GET", "/v2/info/import", self.show_methods, AUTHENTICATED),
        ]  # fmt: skip

    async def begin(self, request: Request) -> Response:
        """202; what becomes of it is told by the image's tasks. All stores, or any, are the one there is."""
        method, uri = request.json["method"]["name"], request.json["method"].get("uri")
        if method not in METHODS:
            raise Invalid(f"Unknown import method name '{method[:64]}'.")
        if (uri is None) == (method == WEB):
            raise Invalid("'uri' must be specified when the import method is 'web-download', and only then.")
        if request.json.get("stores"):
            raise Invalid("This site has no choice of stores.")
        image_id = request.params["image_id"]
        asked = {name: request.json[name] for name in ("method", "stores") if name in request.json}
        await self._imports.start(request.context, image_id, method, uri, asked)
        return Response(202)

    async def create(self, request: Request) -> Response:
        """The old way, for administrators: make an image and import it, in one request."""
        _check_access(request)
        asked = request.json["input"]
        formats = {name: asked["image_properties"].get(name) for name in ("name", "disk_format", "container_format")}
        visibility = asked["image_properties"].get("visibility", "shared")
        if asked.get("import_from_format", formats["disk_format"]) != formats["disk_format"]:
            raise Invalid("'import_from_format' is not the image's 'disk_format', and nothing is converted here.")
        self._imports.check(asked["import_from"])
        image = await self._images.create(request.context, NewImage(visibility=visibility, **formats))
        try:
            task = await self._imports.start(request.context, image.id, WEB, asked["import_from"], asked)
        except Failure:
            await self._images.delete(request.context, image.id)
            raise
        headers = [("location", f"{request.service_url}/v2/tasks/{task.id}")]
        return Response.json(_view(task), 201, headers)

    async def list_of_image(self, request: Request) -> dict[str, Any]:
        """API version 2.12."""
        tasks = await self._imports.of_image(request.context, request.params["image_id"])
        return {"tasks": [_view(task) for task in tasks]}

    async def list(self, request: Request) -> dict[str, Any]:
        """Administrators only; without input, result and message."""
        _check_access(request)
        status, kind = request.query_one("status"), request.query_one("type")
        if status is not None and status not in _STATUSES:
            raise Invalid(f"Invalid status value: {status[:64]}")
        if kind is not None and kind not in ("import", "api_image_import", "location_import"):
            raise Invalid(f"Invalid type value: {kind[:64]}")
        limit = read_limit(request.query)
        marker = request.query_one("marker")
        tasks = await self._imports.list(request.context, status, kind, _sort(request), limit, marker)
        pairs = [(name, value) for name, values in request.query.items() for value in values if name != "marker"]
        page: dict[str, Any] = {"tasks": [_stub(task) for task in tasks], "schema": "/v2/schemas/tasks"}
        page["first"] = "/v2/tasks" + (f"?{urlencode(pairs)}" if pairs else "")
        if tasks and len(tasks) == limit:
            page["next"] = f"/v2/tasks?{urlencode([*pairs, ('marker', tasks[-1].id)])}"
        return page

    async def show(self, request: Request) -> dict[str, Any]:
        """Administrators only."""
        _check_access(request)
        return {**_view(await self._imports.get(request.context, request.params["task_id"]))}

    async def show_methods(self, request: Request) -> dict[str, Any]:
        value = list(METHODS)
        return {"import-methods": {"description": "Import methods available.", "type": "array", "value": value}}


def _check_access(request: Request) -> None:
    if not request.permits("tasks_api_access"):
        raise Forbidden("You are not authorized to complete this action.")


def _sort(request: Request) -> tuple[str, bool]:
    key, way = request.query_one("sort_key") or "created_at", request.query_one("sort_dir") or "desc"
    if key not in SORT_COLUMNS:
        raise Invalid(f"Invalid sort key: {key[:64]}")
    if way not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {way[:64]}")
    return key, way == "desc"


def _stub(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "image_id": task.image_id,
        "request_id": task.request_id,
        "user_id": task.user_id,
        "created_at": moment(task.created_at),
        "updated_at": moment(task.updated_at),
        "self": f"/v2/tasks/{task.id}",
        "schema": "/v2/schemas/task",
    }


def _view(task: Task) -> Mapping[str, Any]:
    asked: Mapping[str, Any] = task.input
    if task.type != OLD:
        asked = {"image_id": task.image_id, "import_req": task.input, "backend": [None]}
    result = {"image_id": task.image_id} if task.status == "success" else None
    return {**_stub(task), "input": asked, "result": result, "message": task.message}
