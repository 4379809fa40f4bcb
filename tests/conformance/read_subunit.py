"""A stream of subunit v2 on standard input → one JSON object a test. Runs in the suite's own environment."""

from __future__ import annotations

import json
import sys

import subunit
from testtools import StreamToDict

STATUS = {"success": "success", "xfail": "success", "skip": "skip"}


def show(test: dict) -> None:  # type: ignore[type-arg]
    """Print one ended test."""
    if test["status"] == "exists":
        return
    details = test["details"]
    if "reason" in details:
        why = details["reason"].as_text()
    else:
        texts = [d.as_text().strip() for n, d in details.items() if "traceback" in n]
        why = texts[0].splitlines()[-1] if texts and texts[0] else ""
    facts = {"test": test["id"], "status": STATUS.get(test["status"], "fail"), "why": why[:300]}
    sys.stdout.write(json.dumps(facts) + "\n")


result = StreamToDict(show)
result.startTestRun()
subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
result.stopTestRun()
