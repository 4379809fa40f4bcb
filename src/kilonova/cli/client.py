"""Asking the running cloud over HTTP, as the administrator of its state directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from kilonova.core.errors import Failure, NotFound, Unavailable
from kilonova.state import StateDir


class Client:
    """One signed-in caller. Raises Unavailable when the cloud does not run, Failure with its words when it refuses."""

    def __init__(self, state: Path, user: str = "admin", timeout: float = 120.0) -> None:
        self.state = StateDir(state)
        endpoint = self.state.endpoint()
        if endpoint is None:
            raise Unavailable(f"There is no cloud in {state}. Start one with: kilonova up --state {state}")
        self.endpoint = endpoint
        self._http = httpx.Client(base_url=endpoint, timeout=timeout, trust_env=False)
        self._headers: dict[str, str] = {"OpenStack-API-Version": "compute 2.79"}
        self._sign_in(user)

    def _sign_in(self, user: str) -> None:
        how = self.state.sign_in(user)
        domain = {"name": how.domain}
        who = {"name": how.user, "password": how.password, "domain": domain}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": who}},
                "scope": {"project": {"name": how.project, "domain": domain}},
            }
        }
        response = self._send("POST", f"{how.address}/auth/tokens", json=body)
        self._headers["X-Auth-Token"] = response.headers["X-Subject-Token"]
        self.project_id: str = response.json()["token"]["project"]["id"]

    def get(self, path: str, **query: Any) -> Any:
        """A document."""
        return self._send("GET", path, params=query).json()

    def post(self, path: str, body: Any) -> Any:
        """Do something; the answer's document, None without one."""
        response = self._send("POST", path, json=body)
        return response.json() if response.content else None

    def put(self, path: str, body: Any = None) -> Any:
        """Change something; the answer's document, None without one."""
        response = self._send("PUT", path, json=body)
        return response.json() if response.content else None

    def delete(self, path: str) -> None:
        """Delete something."""
        self._send("DELETE", path)

    def lines(self, path: str, headers: Mapping[str, str], **query: Any) -> Iterator[str]:
        """The lines of a document that has no end of its own, as they come. Raises as every request here; it just ends
        when the connection does."""
        try:
            with self._http.stream("GET", path, headers={**self._headers, **headers}, params=query) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from response.iter_lines()
        except httpx.RemoteProtocolError:
            return
        except httpx.TransportError as error:
            raise self._silent() from error

    def find_server(self, name: str) -> dict[str, Any]:
        """A server by id or by name, of any project. Raises NotFound, or Failure when the name is not unique."""
        found = self.get("/compute/v2.1/servers/detail", all_tenants="1", name=f"^{name}$")["servers"]
        found = [s for s in found if s["name"] == name]
        if not found:
            try:
                server: dict[str, Any] = self.get(f"/compute/v2.1/servers/{name}")["server"]
            except Failure as failure:
                raise NotFound(f"There is no server {name}") from failure
            return server
        if len(found) > 1:
            raise Failure(f"Several servers are called {name}: {', '.join(s['id'] for s in found)}")
        return dict(found[0])

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, headers=self._headers, **options)
        except httpx.TransportError as error:
            raise self._silent() from error
        if response.is_error:
            raise _refusal(response)
        return response

    def _silent(self) -> Unavailable:
        root = self.state.root
        return Unavailable(f"The cloud at {self.endpoint} does not answer. Start it with: kilonova up --state {root}")


def _refusal(response: httpx.Response) -> Failure:
    try:
        (told,) = response.json().values()
        message = str(told["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        message = response.text[:300]
    kind = NotFound if response.status_code == 404 else Failure
    return kind(f"{message} (HTTP {response.status_code})")
