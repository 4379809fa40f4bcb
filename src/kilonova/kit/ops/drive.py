"""Driving one operation by one step: run it, then one transaction with its rows, its event and what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kilonova.core.errors import Expired, Failure, Lost
from kilonova.kit import log as logs
from kilonova.kit.clock import Clock
from kilonova.kit.db import Database, Tx
from kilonova.kit.ops import store
from kilonova.kit.ops.model import (
    Call,
    Commit,
    Done,
    Ending,
    Fail,
    Flow,
    Lock,
    Next,
    Operation,
    Outcome,
    Run,
    Sleep,
    Step,
    Wait,
)
from kilonova.kit.ops.start import Operations

log = logs.Logger(__name__)

Observe = Callable[[str, Operation], None]
"""Called at `before`, `effect` (done, not committed) and `committed` of every step: a place to watch, or to die at."""

UNDO_ATTEMPTS: Final = 8


def ignore(point: str, operation: Operation) -> None:
    """Watch nothing."""


class Pacing(Protocol):
    """The part of the engine's pace that driving needs."""

    @property
    def retry(self) -> float: ...

    @property
    def retry_longest(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Pause:
    """Go on after `seconds`, or when the bell rings."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more to do here: the operation ended, or is not ours any more."""


@dataclass(slots=True)
class _Tries:
    """What is kept in memory between tries of one step."""

    step: str
    count: int = 0
    progress_at: int = 0
    waiting: tuple[Lock, int | None] | None = None
    last_error: str = ""


@dataclass(slots=True)
class Driver:
    """Advances operations; keeps per-operation memory only between tries of a step."""

    db: Database
    clock: Clock
    operations: Operations
    flows: Mapping[str, Flow]
    pace: Pacing
    observe: Observe
    _tries: dict[str, _Tries] = field(default_factory=dict)

    async def advance(self, op: Operation) -> Pause | Ended:
        """Run the operation's present step once and commit how it ended."""
        logs.request_id.set(op.request_id)
        flow = self.flows.get(op.flow)
        if flow is None:
            log.error("an operation names a flow that this worker does not have", flow=op.flow, operation=op.id)
            return Pause(self.pace.retry_longest)
        op.step = op.step or flow.steps[0].name
        step = next(s for s in flow.steps if s.name == op.step)
        tries = self._tries.get(op.id)
        if tries is None or tries.step != op.step:
            tries = self._tries[op.id] = _Tries(op.step, progress_at=self.clock.now())
        try:
            ended = await (self._undo(flow, step, op, tries) if op.undoing else self._do(flow, step, op, tries))
        except Lost:
            log.info("an operation is not ours any more", operation=op.id, flow=op.flow, step=op.step)
            ended = Ended()
        except asyncio.CancelledError:
            self._tries.pop(op.id, None)
            raise
        if isinstance(ended, Ended):
            self._tries.pop(op.id, None)
        return ended

    async def _do(self, flow: Flow, step: Step, op: Operation, tries: _Tries) -> Pause | Ended:
        run = await self._run(op, tries)
        if op.child_id is not None and run.child is None:
            return Pause(self.pace.retry_longest)
        self.observe("before", op)
        try:
            if self.clock.now() - tries.progress_at > flow.deadline * 1e6:
                raise Expired(f"No progress in '{step.name}' for {flow.deadline:g} seconds", detail=tries.last_error)
            ending = await step.do(run)
            self.observe("effect", op)
            return await self._commit(flow, step, op, run, ending, tries)
        except Lost:
            raise
        except Failure as failure:
            if failure.retryable:
                return self._again(op, tries, failure)
            return await self._fail(flow, step, op, run, failure, tries)
        except Exception as error:
            log.exception("a step failed", operation=op.id, flow=op.flow, step=step.name, attempt=tries.count)
            return self._again(op, tries, error)

    def _again(self, op: Operation, tries: _Tries, error: Exception) -> Pause:
        tries.count += 1
        tries.last_error = getattr(error, "detail", "") or str(error)
        pause = min(self.pace.retry * 2 ** min(tries.count - 1, 12), self.pace.retry_longest)
        log.info("a step will be tried again", operation=op.id, step=op.step, why=str(error), in_seconds=pause)
        return Pause(pause)

    async def _run(self, op: Operation, tries: _Tries) -> Run:
        child: Outcome | None = None
        if op.child_id is not None:
            child_id = op.child_id
            child = await self.db.read(lambda tx: store.outcome(tx, child_id))

        def touch() -> None:
            tries.progress_at = self.clock.now()

        return Run(
            operation=op,
            frame=dict(op.frame),
            attempt=tries.count,
            guard=lambda tx: store.hold(tx, op),
            touch=touch,
            now=self.clock.now(),
            child=child,
        )

    async def _commit(
        self, flow: Flow, step: Step, op: Operation, run: Run, ending: Ending, tries: _Tries
    ) -> Pause | Ended:
        if isinstance(ending, Fail):
            raise ending.failure
        if isinstance(ending, Sleep):
            return Pause(ending.seconds)
        if isinstance(ending, Wait):
            return await self._wait(op, run, ending, tries)
        if isinstance(ending, Call):
            return await self._call(op, run, ending)
        following = None if isinstance(ending, Done) else _following(flow, step, ending.to)
        moved = _moved(op, run)
        moved.done = [*op.done, step.name]
        moved.step = following or step.name
        moved.step_at = self.clock.now()
        moved.child_id = None

        def work(tx: Tx) -> None:
            if ending.commit is not None:
                ending.commit(tx)
            self._event(tx, step, op, run, tries, "success")
            if following is None:
                self.operations.hint(tx, due=tuple(store.finish(tx, moved, "done", None)))
            else:
                store.save(tx, moved, wait=ending.wait if isinstance(ending, Next) else None)

        await self.db.write(work)
        _adopt(op, moved)
        if following is not None and isinstance(ending, Next) and ending.wait is not None:
            self._tries[op.id] = _Tries(following, progress_at=self.clock.now(), waiting=(ending.wait, None))
        log.info("step done", operation=op.id, flow=op.flow, step=step.name, subject=op.subject.id, host=run.host)
        self.observe("committed", op)
        return Ended() if following is None else Pause(0)

    async def _wait(self, op: Operation, run: Run, ending: Wait, tries: _Tries) -> Pause:
        mark = (ending.subject, ending.seen)
        if tries.waiting in (mark, (ending.subject, None)) and ending.commit is None:
            tries.waiting = mark
            return Pause(ending.poll)
        if tries.waiting is not None:
            tries.progress_at = self.clock.now()
        moved = _moved(op, run)

        def work(tx: Tx) -> bool:
            if ending.commit is not None:
                ending.commit(tx)
            missed = ending.version(tx) != ending.seen
            store.save(tx, moved, wait=ending.subject)
            return missed

        missed = await self.db.write(work)
        _adopt(op, moved)
        tries.waiting = None if missed else mark
        self.observe("committed", op)
        return Pause(0.001 if missed else ending.poll)

    async def _call(self, op: Operation, run: Run, ending: Call) -> Pause:
        moved = _moved(op, run)

        def work(tx: Tx) -> None:
            moved.child_id = self.operations.start(
                tx, ending.flow, op.subject, ending.frame, action=op.action, project_id=op.project_id,
                user_id=op.user_id,
                request_id=op.request_id, parent=op,
            )  # fmt: skip
            store.save(tx, moved, wait=Lock("operation", moved.child_id))

        await self.db.write(work)
        _adopt(op, moved)
        self.observe("committed", op)
        return Pause(self.pace.retry_longest)

    async def _fail(
        self, flow: Flow, step: Step, op: Operation, run: Run, failure: Failure, tries: _Tries
    ) -> Pause | Ended:
        """Turn round: undo this step (it may have got half way) and those before it, then end as failed."""
        log.warning("an operation fails", operation=op.id, flow=op.flow, step=step.name, why=failure.message)
        moved = _moved(op, run)
        moved.undoing = True
        moved.failure = {"code": failure.code, "message": failure.message, "detail": failure.detail, "step": step.name}
        moved.failure["facts"] = failure.facts
        moved.done = [*op.done, step.name]
        moved.step_at = self.clock.now()

        def work(tx: Tx) -> None:
            self._event(tx, step, op, run, tries, "error", failure.message)
            store.save(tx, moved)

        await self.db.write(work)
        _adopt(op, moved)
        self.observe("committed", op)
        return Pause(0)

    async def _undo(self, flow: Flow, step: Step, op: Operation, tries: _Tries) -> Pause | Ended:
        """Undo one step; with none left, the flow's `failed` and the end."""
        run = await self._run(op, tries)
        self.observe("before", op)
        undone: Commit | None = None
        result = "success"
        if op.done and step.undo is not None:
            try:
                undone = await step.undo(run)
            except Lost:
                raise
            except Exception as error:
                log.exception("an undo failed", operation=op.id, flow=op.flow, step=step.name, attempt=tries.count)
                if tries.count < UNDO_ATTEMPTS:
                    return self._again(op, tries, error)
                result = "error"
        self.observe("effect", op)
        moved = _moved(op, run)
        moved.done = op.done[:-1]
        moved.step = moved.done[-1] if moved.done else op.step
        moved.step_at = self.clock.now()
        last = not moved.done

        def work(tx: Tx) -> None:
            if undone is not None:
                undone(tx)
            if step.undo is not None:
                self._event(tx, step, op, run, tries, result, undo=True)
            if last:
                flow.failed(tx, run, _failure(op.failure))
                self.operations.hint(tx, due=tuple(store.finish(tx, moved, "failed", op.failure)))
            else:
                store.save(tx, moved)

        await self.db.write(work)
        _adopt(op, moved)
        self.observe("committed", op)
        return Ended() if last else Pause(0)

    def _event(
        self,
        tx: Tx,
        step: Step,
        op: Operation,
        run: Run,
        tries: _Tries,
        result: str,
        why: str = "",
        *,
        undo: bool = False,
    ) -> None:
        store.add_event(
            tx, operation_id=op.id, step=step.name, event=step.event, undo=undo, attempts=tries.count + 1,
            started_at=op.step_at, finished_at=self.clock.now(), host=run.host, result=result,
            details=why or run.details or tries.last_error,
        )  # fmt: skip


def _following(flow: Flow, step: Step, to: str | None) -> str | None:
    names = [s.name for s in flow.steps]
    if to is not None:
        return names[names.index(to)]
    index = names.index(step.name) + 1
    return names[index] if index < len(names) else None


def _moved(op: Operation, run: Run) -> Operation:
    """A copy of the operation to be stored; the original changes only once that is durable."""
    return Operation(
        id=op.id, flow=op.flow, action=op.action, step=op.step, subject=op.subject, frame=run.frame,
        project_id=op.project_id,
        user_id=op.user_id, request_id=op.request_id, created_at=op.created_at, step_at=op.step_at, fence=op.fence,
        undoing=op.undoing, done=list(op.done), failure=op.failure, parent_id=op.parent_id, root_id=op.root_id,
        child_id=op.child_id, worker=op.worker,
    )  # fmt: skip


def _adopt(op: Operation, moved: Operation) -> None:
    op.step, op.frame, op.undoing, op.done = moved.step, moved.frame, moved.undoing, moved.done
    op.failure, op.child_id, op.step_at = moved.failure, moved.child_id, moved.step_at


def _failure(stored: dict[str, Any] | None) -> Failure:
    told = stored or {"message": "The operation failed"}
    failure = Failure(told["message"], detail=told.get("detail", ""), **told.get("facts", {}))
    failure.facts.setdefault("code", told.get("code", "internal"))
    return failure
