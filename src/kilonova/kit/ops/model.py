"""What a flow is made of: steps, and the ways in which a step may end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from kilonova.core.errors import Failure
from kilonova.kit.db import Tx

Commit = Callable[[Tx], None]


@dataclass(frozen=True, slots=True, order=True)
class Lock:
    """A thing that at most one running operation (with its children) may change: (kind, id)."""

    kind: str
    id: str


@dataclass(slots=True)
class Operation:
    """One row: which flow, which step, and everything the step needs (`frame`)."""

    id: str
    flow: str
    action: str
    step: str
    subject: Lock
    frame: dict[str, Any]
    project_id: str
    user_id: str
    request_id: str
    created_at: int
    step_at: int
    fence: int = 0
    undoing: bool = False
    done: list[str] = field(default_factory=list)
    failure: dict[str, Any] | None = None
    parent_id: str | None = None
    root_id: str = ""
    child_id: str | None = None
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended: done, failed or superseded."""

    outcome: str
    frame: dict[str, Any]
    error: dict[str, Any] | None


@dataclass(slots=True)
class Run:
    """One execution of one step. `frame` may be changed by the step and its commit; it is stored with the commit.

    `guard(tx)` raises Lost when this operation has ended or belongs to another worker: give it to whatever writes in a
    transaction of its own on the operation's behalf. `touch()` tells that long work progresses. `child` is the outcome
    of the sub-operation that this step called.
    """

    operation: Operation
    frame: dict[str, Any]
    attempt: int
    guard: Commit
    touch: Callable[[], None]
    now: int
    child: Outcome | None = None
    host: str = ""
    details: str = ""

    @property
    def id(self) -> str:
        return self.operation.id

    @property
    def subject_id(self) -> str:
        return self.operation.subject.id

    @property
    def request_id(self) -> str:
        return self.operation.request_id


@dataclass(frozen=True, slots=True)
class Next:
    """This step is done; go to the next one (or to the one named).

    `wait` registers for notifications of a subject in the same transaction, so that the next step, if it has to wait
    for just that, writes nothing.
    """

    commit: Commit | None = None
    to: str | None = None
    wait: Lock | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Run this step again when (kind, id) is notified, or after `poll` seconds.

    `version(tx)` reads the subject's version under a row lock, `seen` is the one that this decision rests on: if they
    differ at the commit, the step runs again at once, so a lost wake-up is impossible.
    """

    subject: Lock
    seen: int
    version: Callable[[Tx], int]
    poll: float = 10.0
    commit: Commit | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Run this step again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """Start a sub-operation (it inherits the locks) and run this step again, with `run.child`, when it has ended."""

    flow: str
    frame: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The operation is complete."""

    commit: Commit | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Undo what was done and end as failed. Raising a Failure that is not retryable means the same."""

    failure: Failure


Ending = Next | Wait | Sleep | Call | Done | Fail
Do = Callable[[Run], Awaitable[Ending]]
Undo = Callable[[Run], Awaitable[Commit | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """A step: idempotent I/O in `do`, then one transaction. `undo` is asked in reverse order after a failure, whether
    the step had finished or was under way; it never waits for a host. `event` is its public name, if it has one.
    """

    name: str
    do: Do
    undo: Undo | None = None
    event: str = ""


class Flow(Protocol):
    """Durable multi-step work on one subject. `deadline` is in seconds without progress."""

    name: ClassVar[str]
    deadline: ClassVar[float]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order."""

    def failed(self, tx: Tx, run: Run, failure: Failure) -> None:
        """The last transaction of a failed operation: leave the subject in a defined state that says why."""
