"""The ASGI application: finds the route, does everything that routes have in common, and answers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote

from kilonova.core.errors import Expired, Failure, Forbidden, Invalid, NotFound, TooLarge
from kilonova.core.ids import new_request_id
from kilonova.kit.http import body
from kilonova.kit.http.error import MethodNotAllowed, UnsupportedMedia, status_of
from kilonova.kit.http.match import Matcher
from kilonova.kit.http.request import Request, base_url, own
from kilonova.kit.http.response import Response, encode
from kilonova.kit.http.route import AUTHENTICATED, PUBLIC, Gate, Route, Service
from kilonova.kit.http.schema import Checker
from kilonova.kit.log import Logger, request_id

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUEST_ID: Final = re.compile(r"^req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
_BODILESS: Final = frozenset({204, 304})
_BROKEN: Final = "An unexpected error prevented the server from answering."
_Headers = list[tuple[bytes, bytes]]


class _Site:
    """A service made ready to serve."""

    __slots__ = ("actions", "checker", "matcher", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.matcher = Matcher(service.routes, service.roots)
        self.checker = Checker(service.formats)


class App:
    """Serves several services, each under its prefix, on one listener.

    `public_url`: what links begin with; "" takes it from each request's Host. `trust_forwarded`: whether
    X-Forwarded-Proto and -Host come from our own proxy. `sockets` serves all websockets. Bodies are read only after
    authentication; every answer carries a request id.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        public_url: str = "",
        trust_forwarded: bool = False,
        new_id: Callable[[], str] = new_request_id,
        log: Logger | None = None,
        sockets: Callable[[Scope, body.Receive, Send], Awaitable[None]] | None = None,
    ) -> None:
        self._sites = {service.prefix.strip("/"): _Site(service) for service in services}
        if len(self._sites) != len(services):
            raise ValueError("two services have the same prefix")
        self._public_url = public_url
        self._trust_forwarded = trust_forwarded
        self._new_id = new_id
        self._log = log or Logger("kilonova.http")
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)

    async def _serve(self, scope: Scope, receive: body.Receive, send: Send) -> None:
        start = time.perf_counter()
        identifier = self._new_id()
        marker = request_id.set(identifier)
        try:
            base = base_url(scope, public_url=self._public_url, trust_forwarded=self._trust_forwarded)
            request = Request(scope, receive, identifier, base)
            site, segments, failure = self._locate(scope, request)
            if site is None:
                response = _plain_fault(failure or NotFound("The resource could not be found."), request)
            else:
                request.service = site.service
                response = await self._answer(site, request, segments, failure)
            headers = self._headers(request, response)
            if headers is None:
                response = _plain_fault(Failure(_BROKEN), request)
                headers = self._headers(request, response) or []
            sent = await _send(request, response, headers, receive, send)
            self._record(request, response.status, sent, time.perf_counter() - start)
        finally:
            request_id.reset(marker)

    def _locate(self, scope: Scope, request: Request) -> tuple[_Site | None, list[str], Failure | None]:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        failure: Failure | None = None
        try:
            request.path = raw.decode("ascii")
            segments = request.path[1:].split("/")
            if b"%" in raw:
                segments = [unquote(s, errors="strict") for s in segments]
                if any("\x00" in s for s in segments):
                    failure = Invalid("The path holds a NUL character")
        except UnicodeDecodeError:
            segments = raw.decode("ascii", "replace")[1:].split("/")
            failure = Invalid("The path is not valid UTF-8")
        site = self._sites.get(segments[0])
        if site is not None and segments[0]:
            return site, segments[1:], failure
        return self._sites.get(""), segments, failure

    async def _answer(self, site: _Site, request: Request, segments: list[str], failure: Failure | None) -> Response:
        """Every failure ends here as a response in the dialect of the service."""
        try:
            if failure is not None:
                raise failure
            return await _run(site, request, segments)
        except Failure as failed:
            response = site.service.fault(failed, request)
            if failed.detail:
                self._log.warning("failed", status=response.status, code=failed.code, detail=failed.detail)
            return response
        except Exception:
            self._log.exception("broke", method=request.method, path=_loggable(request))
            return site.service.fault(Failure(_BROKEN), request)

    def _headers(self, request: Request, response: Response) -> _Headers | None:
        """What goes over the wire; None when a value cannot (a line break would smuggle in another header)."""
        headers = [*response.headers]
        service = request.service
        if service is not None:
            headers.extend((name, request.request_id) for name in service.request_id_headers)
            if service.versioning is not None:
                version = request.version if request.version != (0, 0) else service.versioning.minimum
                headers.extend(service.versioning.headers(version))
        try:
            return [(name.lower().encode("latin-1"), _header_value(value)) for name, value in headers]
        except ValueError:
            self._log.exception("broke", method=request.method, path=_loggable(request))
            return None

    def _record(self, request: Request, status: int, sent: int, seconds: float) -> None:
        service, route, caller = request.service, request.route, request.caller
        facts: dict[str, Any] = {
            "method": request.method,
            "path": _loggable(request),
            "status": status,
            "bytes": sent,
            "ms": round(seconds * 1000, 3),
        }
        if service is not None and route is not None:
            facts["service"], facts["route"] = service.name, route.path
            if route.action:
                facts["action"] = route.action
        if client := request.scope.get("client"):
            facts["client"] = client[0]
        if caller is not None:
            facts["user_id"], facts["project_id"] = caller.user_id, caller.project_id
        if request.global_request_id:
            facts["global_request_id"] = request.global_request_id
        self._log.info("request", **facts)
        if service is not None and service.observe is not None:
            service.observe(service.name, route.path if route else "", status, seconds)


async def _run(site: _Site, request: Request, segments: list[str]) -> Response:
    service = site.service
    offered = request.header(service.request_id_headers[0]) if service.request_id_headers else None
    if offered and _REQUEST_ID.match(offered):
        request.global_request_id = offered
    if service.versioning is not None:
        request.version = service.versioning.negotiate(request.header)
    routes = _find(site, request, segments)
    if service.versioning is not None:
        served = [route for route in routes if route.serves(request.version)]
        if not served:
            raise NotFound("The resource could not be found.")
        routes = served
    request.route = routes[0]
    if request.route.takes == "stream":
        return await _handle(site, request, request.route)
    try:
        async with asyncio.timeout(request.route.deadline) as limit:
            return await _handle_document(site, request, routes)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Expired("The request took too long and was abandoned.") from None


def _find(site: _Site, request: Request, segments: list[str]) -> list[Route]:
    routes, request.params, allowed = site.matcher.find(request.method, segments)
    if not routes and len(segments) > 0 and segments[-1] == "":
        routes, request.params, allowed = site.matcher.find(request.method, segments[:-1])
    if routes:
        return routes
    if allowed:
        if "GET" in allowed:
            allowed.add("HEAD")
        raise MethodNotAllowed("The method is not allowed for this resource.", allow=sorted(allowed))
    raise NotFound("The resource could not be found.")


async def _handle_document(site: _Site, request: Request, routes: list[Route]) -> Response:
    route = routes[0]
    if site.service.gate is not None and route.policy != PUBLIC:
        request.admit(await site.service.gate.authenticate(request))
    if site.service.check is not None:
        site.service.check(request)
    if route.takes == "json":
        raw = await request.read(max(r.max_body for r in routes))
        if raw:
            _check_media(request, route)
            request.json = body.parse_json(raw)
        if route.action:
            route = request.route = _choose_action(routes, request.json)
            if len(raw) > route.max_body:
                raise TooLarge("Request is too large.", limit=route.max_body)
    return await _handle(site, request, route)


async def _handle(site: _Site, request: Request, route: Route) -> Response:
    if route.policy != PUBLIC:
        await _admit(site.service.gate, request, route)
    if route.query is not None:
        site.checker.check(route.query, request.query, request.version, "query")
    if route.schema is not None:
        site.checker.check(route.schema, request.json, request.version)
    answer = await route.handler(request)
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(route.success)
    return Response(route.success, encode(answer), (("content-type", "application/json"),))


async def _admit(gate: Gate | None, request: Request, route: Route) -> None:
    if gate is None:
        raise Forbidden("This service lets nobody in.")
    if request.caller is None:
        request.admit(await gate.authenticate(request))
    if route.policy == AUTHENTICATED:
        return
    target = {**own(request.context), **request.params}
    if route.target is not None:
        target.update(await route.target(request))
    if not gate.permits(request.context, route.policy, target):
        raise Forbidden(f"Policy doesn't allow {route.policy} to be performed.", rule=route.policy)


def _check_media(request: Request, route: Route) -> None:
    media = request.header("content-type")
    if media is not None and media.split(";")[0].strip().lower() not in route.media:
        raise UnsupportedMedia(f"Unsupported Content-Type; this takes {', '.join(route.media)}")


def _choose_action(routes: list[Route], document: Any) -> Route:
    if not isinstance(document, dict) or len(document) != 1:
        raise Invalid("Malformed request body: it must have exactly one member, the action")
    name = next(iter(document))
    for route in routes:
        if route.action == name:
            return route
    raise Invalid(f"There is no such action: {name[:64]}")


async def _send(request: Request, response: Response, headers: _Headers, receive: body.Receive, send: Send) -> int:
    """Send it and return the bytes of body that went out."""
    content = response.body
    if isinstance(content, bytes):
        if response.status not in _BODILESS:
            headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if request.method == "HEAD":
            content = b""
        await send({"type": "http.response.body", "body": content})
        return len(content)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    return await _send_stream(request, content, receive, send)


async def _send_stream(request: Request, chunks: AsyncIterator[bytes], receive: body.Receive, send: Send) -> int:
    """Chunks go out as fast as the client takes them; when it leaves or stalls for the route's deadline, they end."""
    sent = 0
    seconds = request.route.deadline if request.route else 60.0
    gone = asyncio.ensure_future(_departure(receive))
    try:
        async with _until_gone(gone):
            if request.method != "HEAD":
                async for chunk in chunks:
                    if gone.done():
                        return sent
                    async with asyncio.timeout(seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    sent += len(chunk)
            await send({"type": "http.response.body", "body": b""})
    except Exception:
        # The status is sent, so the only honest sign left is a connection that ends early: the server closes it when
        # an application returns in the middle of a body.
        Logger("kilonova.http").exception("broke off", method=request.method, path=request.path, sent=sent)
    finally:
        gone.cancel()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return sent


@asynccontextmanager
async def _until_gone(gone: asyncio.Future[None]) -> AsyncIterator[None]:
    """Ends what is under way inside, quietly, when the client leaves: also a wait for the next chunk."""
    limit = asyncio.timeout(None)
    inside = True

    def leave(_: asyncio.Future[None]) -> None:
        if inside:
            limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit:
            gone.add_done_callback(leave)
            try:
                yield
            finally:
                inside = False
    except TimeoutError:
        if not limit.expired():
            raise


async def _departure(receive: body.Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _header_value(value: str) -> bytes:
    if "\n" in value or "\r" in value or "\x00" in value:
        raise ValueError("a header value holds a line break")
    return value.encode("latin-1")


def _loggable(request: Request) -> str:
    return request.route.path if request.route is not None and request.route.private else request.path


def _plain_fault(failure: Failure, request: Request) -> Response:
    status = status_of(failure)
    return Response.json({"error": {"code": status, "message": failure.message}}, status)


async def _live(receive: body.Receive, send: Send) -> None:
    """ASGI lifespan: nothing starts or stops with the application; its owner does that."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
