"""One task for each guest: it works when there is something to do, and starts over when someone new is in charge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from kilonova.core.errors import Failure, Unavailable
from kilonova.kit import log as logs
from kilonova.kit.clock import Clock
from kilonova.node.driver.failure import DriverError
from kilonova.node.procedure import Hands, ensure, give_up, observe
from kilonova.wire.guest import GuestObservation, GuestSpec

log = logs.Logger(__name__)
TRIES: Final = 3
TELL_EVERY: Final = 2.0

Post = Callable[[GuestObservation], None]


class Keeper:
    """Keeps one guest. `want` gives it a new spec, `look` tells it that something happened."""

    def __init__(self, hands: Hands, clock: Clock, post: Post, slots: asyncio.Semaphore, pause: float = 0.5) -> None:
        self._hands = hands
        self._clock = clock
        self._post = post
        self._slots = slots
        self._pause = pause
        self._older: set[asyncio.Task[None]] = set()
        self._spec: GuestSpec | None = None
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last: GuestObservation | None = None
        self._told_at = 0

    @property
    def busy(self) -> bool:
        return self._task is not None

    def want(self, spec: GuestSpec) -> None:
        """Work towards `spec`; what runs under an older fence is cancelled."""
        older = self._spec
        self._spec = spec
        self._last = None
        if self._task is not None and older is not None and _replaces(older, spec):
            self._task.cancel()
            self._older.add(self._task)
            self._task.add_done_callback(self._older.discard)
            self._task = None
        if spec.hurry and self._task is not None:
            rush = asyncio.create_task(self.hurry(), name=f"hurry-{spec.server_id}")
            self._older.add(rush)
            rush.add_done_callback(self._older.discard)
        self.look()

    async def hurry(self) -> None:
        """Let a guest that is being sent stand still for as long as that takes; one that is not is left alone."""
        if self._spec is not None and self._spec.hurry:
            with suppress(DriverError):
                await self._hands.virt.hurry(self._spec.server_id)

    def look(self) -> None:
        """Compare the guest with its spec soon."""
        self._bell.set()
        if self._task is None and self._spec is not None:
            self._task = asyncio.create_task(self._work(), name=f"guest-{self._spec.server_id}")

    async def stop(self) -> None:
        """Stop working; the guest stays as it is."""
        tasks = self._older | ({self._task} if self._task is not None else set())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        me = asyncio.current_task()
        try:
            if self._older:
                # A driver may have to finish what it began: until then nobody else touches the guest.
                await asyncio.wait(set(self._older))
            while self._bell.is_set() and self._spec is not None:
                self._bell.clear()
                logs.request_id.set(self._spec.request_id)
                await self._once(self._spec)
        except Exception:
            log.exception("a guest could not be looked after", server=self._spec and self._spec.server_id)
        finally:
            if self._task is me:
                self._task = None

    async def _once(self, spec: GuestSpec) -> None:
        attempt = 1
        while True:
            try:
                async with self._slots:
                    seen = await ensure(self._hands, spec, self._stage(spec))
                break
            except Unavailable as error:
                # The control plane does not answer: nothing is wrong with this host or its guest.
                log.info("a guest waits for the control plane", server=spec.server_id, why=error.message)
                if spec is not self._spec:
                    return
                await self._clock.sleep(self._pause)
                continue
            except (DriverError, Failure) as error:
                failed = error if isinstance(error, DriverError) else _refused(error)
            except Exception as error:
                log.exception("a driver failed", server=spec.server_id)
                failed = DriverError("driver", "The host could not do it", detail=repr(error), retryable=True)
            log.warning("a guest is not yet what it shall be", server=spec.server_id, code=failed.code,
                        why=failed.message, detail=failed.detail, attempt=attempt)  # fmt: skip
            if not failed.retryable or attempt == TRIES:
                seen = await self._given_up(spec, failed)
                break
            await self._clock.sleep(self._pause * attempt)
            attempt += 1
        self._tell(seen)

    async def _given_up(self, spec: GuestSpec, failed: DriverError) -> GuestObservation:
        if spec.power == "absent":
            # Removal has no end but success: the next digest tries again.
            return GuestObservation(
                server_id=spec.server_id, fence=spec.fence, version=spec.version, power="unknown", settled=False,
                cause=failed.message,
            )  # fmt: skip
        give_up(self._hands, spec, failed)
        with suppress(DriverError):
            return await observe(self._hands, spec, self._hands.journal.records[spec.server_id])
        record = self._hands.journal.records[spec.server_id]
        return GuestObservation(
            server_id=spec.server_id, fence=spec.fence, version=spec.version, power="unknown", error=record.error
        )

    def _tell(self, seen: GuestObservation) -> None:
        if seen != self._last:
            self._last = seen
            log.info("a guest was looked after", server=seen.server_id, power=seen.power, version=seen.version,
                     settled=seen.settled, error=seen.error.code if seen.error else "")  # fmt: skip
            self._post(msgspec.structs.replace(seen, at=self._clock.now()))

    def _stage(self, spec: GuestSpec) -> Callable[[str, int], None]:
        """Long work tells now and then how far it is; quick work says nothing."""
        began = self._clock.now()

        def tell(stage: str, progress: int) -> None:
            now = self._clock.now()
            if now - max(began, self._told_at) >= TELL_EVERY * 1e6:
                self._told_at = now
                progressed = GuestObservation(
                    server_id=spec.server_id, fence=spec.fence, version=0, power="unknown", settled=False,
                    stage=stage, progress=progress, at=now,
                )  # fmt: skip
                self._post(progressed)

        return tell


def _replaces(older: GuestSpec, newer: GuestSpec) -> bool:
    """Whether what runs for the older spec must not go on."""
    return older.fence < newer.fence or newer.power == "absent" or newer.abort


def _refused(error: Failure) -> DriverError:
    return DriverError(error.code, error.message, detail=error.detail, retryable=error.retryable)
