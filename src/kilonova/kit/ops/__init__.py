"""The operations engine: durable multi-step work. The row is the program counter.

`model` says what a flow is, `store` holds the rows, `engine` takes operations and drives them, `start` is what services
and flows call inside their transactions.
"""

from kilonova.kit.ops.model import (
    Call,
    Commit,
    Done,
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

__all__ = [
    "Call",
    "Commit",
    "Done",
    "Fail",
    "Flow",
    "Lock",
    "Next",
    "Operation",
    "Outcome",
    "Run",
    "Sleep",
    "Step",
    "Wait",
]
