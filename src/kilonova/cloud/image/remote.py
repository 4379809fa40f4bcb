"""Fetching what a user names by its URI, without being made a way into networks that the user cannot reach.

The host's name is resolved once, and the connection goes to the address that was checked: a name that answers
differently the next time changes nothing. Redirects are followed a few times, each checked in the same way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import httpx

from kilonova.core.errors import Failure, Invalid, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
MAX_REDIRECTS: Final = 5
MAX_URI: Final = 2048
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CARRIERS: Final = ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96")
_SITE_LOCAL: Final = "fec0::/10"
_REFUSED: Final = tuple(ipaddress.ip_network(text) for text in (*_CARRIERS, _SITE_LOCAL))
"""IPv6 addresses that carry an IPv4 address, which a translator (or, for `::/96` of RFC 4291 and `::ffff:0:0:0/96` of
RFC 2765, a stack of old) would reach in our name; and those that RFC 3879 deprecates, which sites may still route."""


class Refused(Failure):
    """The other side does not give the bytes, or gives something else."""

    code = "refused"


class Source(Protocol):
    """Where the bytes of an import come from."""

    def read(self, uri: str) -> AsyncIterator[bytes]:
        """The bytes. Raises Invalid (not allowed), Refused, Unavailable (may be tried again)."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which URIs may be fetched. `origins` are (scheme, host, port), a host `*` or `*.domain` standing for many;
    `networks` are reachable although they are not public."""

    origins: tuple[tuple[str, str, int], ...] = (("http", "*", 80), ("https", "*", 443))
    networks: tuple[Network, ...] = ()

    @classmethod
    def read(cls, origins: str, networks: str) -> Allowed:
        """From what an operator writes: `https://*.example.org http://mirror:8080`, `10.1.0.0/16`. Raises Invalid."""
        try:
            found = tuple(_origin(text) for text in origins.split())
            return cls(found, tuple(ipaddress.ip_network(text) for text in networks.split()))
        except (httpx.InvalidURL, ValueError) as error:
            raise Invalid(f"import_origins or import_networks is wrong: {error}") from None

    def check(self, uri: str, base: httpx.URL | None = None) -> httpx.URL:
        """The URI, which may be relative to a `base`, taken apart. Raises Invalid."""
        try:
            url = httpx.URL(uri) if base is None else base.join(uri)
            host, port = url.host.lower(), port_of(url)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise Invalid("URI for web-download is not one") from None
        fits = any(o[0] == url.scheme and o[2] == port and _matches(o[1], host) for o in self.origins)
        if not fits or not host or url.userinfo or len(str(url)) > MAX_URI:
            raise _unfit(url)
        return url

    def reaches(self, address: Address) -> bool:
        """Whether a connection to this address is allowed: a public one, or one in `networks`."""
        if any(address in network for network in self.networks):
            return True
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return self.reaches(address.ipv4_mapped)
            if any(address in network for network in _REFUSED):
                return False
        return address.is_global and not address.is_multicast


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host by this machine's resolver. Raises Unavailable."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"The host {host} is not known", detail=str(error)) from error
    return [str(entry[4][0]) for entry in found]


class WebSource:
    """Fetches over HTTP; `seconds` bounds the whole of it, `silence` the wait for the next bytes."""

    def __init__(
        self, allowed: Allowed, *, lookup: Resolve = resolve, seconds: float = 6 * 3600.0, silence: float = 30.0
    ) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._seconds = seconds
        self._timeout = httpx.Timeout(silence, connect=10.0)

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        """See `Source.read`."""
        try:
            async with asyncio.timeout(self._seconds), _client(self._timeout) as client:
                response = await self._open(client, uri)
                try:
                    async for chunk in response.aiter_raw(1 << 20):
                        yield chunk
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Refused(f"The bytes did not come within {self._seconds:g} seconds") from None
        except UnicodeError:
            # The client looks at the host of a redirect, although it does not follow it.
            raise Refused("The source of the image redirects to what is no host") from None
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Unavailable("The connection to the source of the image failed", detail=repr(error)) from error

    async def _open(self, client: httpx.AsyncClient, uri: str) -> httpx.Response:
        url = self._allowed.check(uri)
        for _ in range(MAX_REDIRECTS + 1):
            response = await client.send(await self._request(client, url), stream=True)
            if response.status_code == 200 and response.headers.get("content-encoding", "identity") == "identity":
                return response
            status, target = response.status_code, response.headers.get("location")
            await response.aclose()
            if status not in _REDIRECTS or not target:
                raise Refused(f"The source of the image answered {status}")
            url = self._allowed.check(target, url)
        raise Refused(f"The source of the image redirects more than {MAX_REDIRECTS} times")

    async def _request(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Request:
        """A request to the address that was checked, which names the host that was asked for."""
        texts = await self._lookup(url.host, port_of(url))
        found = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        allowed = [address for address in found if self._allowed.reaches(address)]
        if not allowed:
            raise _unfit(url)
        pinned = url.copy_with(host=str(allowed[0]))
        headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity"}
        return client.build_request("GET", pinned, headers=headers, extensions={"sni_hostname": url.host})


def port_of(url: httpx.URL) -> int:
    """Its port, or the scheme's own."""
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(text: str) -> tuple[str, str, int]:
    url = httpx.URL(text.replace("://*", "://any-host", 1))
    if url.scheme not in ("http", "https") or not url.host or url.path not in ("", "/"):
        raise ValueError(f"{text} is not scheme://host[:port]")
    return url.scheme, url.host.replace("any-host", "*", 1), port_of(url)


def _matches(pattern: str, host: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _client(timeout: httpx.Timeout) -> httpx.AsyncClient:
    # No proxies and no credentials of the environment: the address that was checked is the one that is asked.
    return httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False)


def _unfit(url: httpx.URL) -> Invalid:
    # What may be a secret of the caller, or of who redirected us, is not repeated.
    path = url.raw_path.partition(b"?")[0]
    shown = f"{url.scheme}://{url.netloc.decode('ascii')}{path.decode('ascii')}"
    return Invalid(f"URI for web-download does not pass filtering: {shown[:256]}")
