"""One connection to libvirtd that comes back by itself, used from asyncio.

libvirt's calls block, so they run in a small pool of threads. libvirt's own event loop runs in one more thread: it
carries events and keep-alives. When libvirtd goes away (guests live on), calls fail with `unavailable` until it is
back.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kilonova.kit.log import Logger
from kilonova.node.driver.failure import DriverError
from kilonova.node.driver.virt.libvirt_failure import explain, is_disconnect

T = TypeVar("T")

_KEEPALIVE_SECONDS = 5
_KEEPALIVE_MISSES = 3
_CALL_DEADLINE = 120.0
_OPEN_DEADLINE = 20.0
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

log = Logger(__name__)


def load_libvirt() -> Any:
    """libvirt's Python module. Raises DriverError with what to install when it is missing."""
    try:
        return importlib.import_module("libvirt")
    except ImportError as error:
        raise DriverError(
            "driver",
            "libvirt's Python module is missing: apt-get install libvirt-dev pkg-config gcc python3-dev, "
            "then pip install 'kilonova[libvirt]'.",
            detail=str(error),
        ) from error


class EventThread:
    """The thread that runs libvirt's default event loop.

    libvirt has one loop a process; registering it again is harmless, and several threads may run it in turn.
    """

    def __init__(self, libvirt: Any) -> None:
        self._libvirt = libvirt
        self._stop = threading.Event()
        self._timer = -1
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)

    def start(self) -> None:
        self._libvirt.virEventRegisterDefaultImpl()
        # A timer that never fires keeps the loop alive; `stop` makes it fire to wake the thread.
        self._timer = self._libvirt.virEventAddTimeout(-1, lambda timer, opaque: None, None)
        self._thread.start()

    def stop(self) -> None:
        """Blocks for a moment: not for the event loop's thread."""
        self._stop.set()
        self._libvirt.virEventUpdateTimeout(self._timer, 0)
        self._thread.join(timeout=5)
        self._libvirt.virEventRemoveTimeout(self._timer)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._libvirt.virEventRunDefaultImpl()


@dataclass(frozen=True, slots=True)
class _Link:
    """One connection with its own end: what a call on an earlier one finds out says nothing about this one."""

    connection: Any
    lost: asyncio.Event


class LibvirtConnection:
    """`prepare(connection)` runs in a pool thread after each (re)connect: it registers callbacks."""

    def __init__(self, uri: str, prepare: Callable[[Any], None], *, threads: int = 8) -> None:
        self._uri = uri
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="libvirt")
        self._libvirt: Any = None
        self._events: EventThread | None = None
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Connect. Raises DriverError (`unavailable`) with what to do when libvirtd is not there."""
        self._libvirt = load_libvirt()
        self._loop = asyncio.get_running_loop()
        # Errors come as exceptions; libvirt would print them as well.
        self._libvirt.registerErrorHandler(lambda context, error: None, None)
        self._events = EventThread(self._libvirt)
        self._events.start()
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="libvirt-keeper")

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        link, self._link = self._link, None
        events, self._events = self._events, None
        await asyncio.to_thread(self._let_go, link, events)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, work: Callable[[Any], T], deadline: float = _CALL_DEADLINE) -> T:
        """Run `work(connection)` in a thread. Raises DriverError; `unavailable` when libvirtd is away or too slow.

        libvirt's calls cannot be stopped half way: who cancels one goes on when it has ended, so that the next call
        for the same guest does not meet it.
        """
        link = self._link
        if link is None:
            raise DriverError("unavailable", "The hypervisor's daemon is not there.", retryable=True)
        return await self._run(lambda: work(link.connection), deadline, link.lost)

    async def _run(self, work: Callable[[], T], deadline: float, lost: asyncio.Event) -> T:
        running = self._pool.submit(work)
        waiting = asyncio.wrap_future(running)
        waiting.add_done_callback(_look_at)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not running.cancel():
                await asyncio.wait([waiting], timeout=deadline)
            raise
        except TimeoutError as error:
            raise DriverError("unavailable", "The hypervisor did not answer in time.", retryable=True) from error
        except self._libvirt.libvirtError as error:
            if is_disconnect(self._libvirt, error):
                lost.set()
            raise explain(self._libvirt, error) from error

    async def _connect(self) -> None:
        lost, abandoned = asyncio.Event(), threading.Event()
        try:
            self._link = _Link(await self._run(lambda: self._dial(abandoned, lost), _OPEN_DEADLINE, lost), lost)
        except DriverError as error:
            raise DriverError(
                "unavailable",
                f"No answer from libvirt at {self._uri}: is libvirtd running, and may this user reach it (root)?",
                detail=error.detail,
                retryable=True,
            ) from error
        finally:
            abandoned.set()

    def _dial(self, abandoned: threading.Event, lost: asyncio.Event) -> Any:
        connection = self._libvirt.open(self._uri)
        try:
            connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_MISSES)
            connection.registerCloseCallback(self._on_close, lost)
            self._prepare(connection)
            # Nobody waits any more: a connection that comes too late must not deliver events a second time.
            if abandoned.is_set():
                raise DriverError("unavailable", "The hypervisor answered too late.", retryable=True)
        except BaseException:
            connection.close()
            raise
        return connection

    def _on_close(self, connection: Any, reason: int, lost: asyncio.Event) -> None:
        # Called in the event thread, possibly while the asyncio loop is being closed.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lost.set)

    async def _keep(self) -> None:
        while (link := self._link) is not None:
            await link.lost.wait()
            self._link = None
            log.warning("the hypervisor's daemon went away", uri=self._uri)
            await asyncio.to_thread(self._let_go, link, None)
            attempt = 0
            while self._link is None:
                try:
                    await self._connect()
                except DriverError:
                    await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                    attempt += 1
            log.info("the hypervisor's daemon is back", uri=self._uri)

    def _let_go(self, link: _Link | None, events: EventThread | None) -> None:
        if link is not None:
            try:
                link.connection.unregisterCloseCallback()
                link.connection.close()
            except self._libvirt.libvirtError as error:
                log.debug("closing a dead connection", reason=str(error))
        if events is not None:
            events.stop()


def _look_at(future: asyncio.Future[Any]) -> None:
    """Whoever waited may be gone: the outcome has been seen all the same."""
    if not future.cancelled():
        future.exception()
