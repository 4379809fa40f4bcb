"""What a project's quota knows of its images: how many, their bytes, bytes staged, fillings under way.

Consumers are named after the blob where an image may be filled more than once, so that a late refund never hits the
next one's charge. Every function takes quota locks: call it before the image's row is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilonova.cloud.quota import store as quota
from kilonova.cloud.quota.model import Use
from kilonova.kit.db import Tx

BYTES: Final = "image_bytes"
STAGED: Final = "image_stage_bytes"
COUNT: Final = "image_count"
FILLING: Final = "image_uploads"


CLOUD: Final = "kilonova"
"""The owner of images that the cloud makes for its own ends; they are charged to nobody."""


def register(tx: Tx, owner: str, image_id: str) -> None:
    """Count a new record. Raises QuotaExceeded."""
    _charge(tx, owner, f"image_record:{image_id}", {COUNT: 1})


def begin(tx: Tx, owner: str, blob: str) -> None:
    """Count a filling. Raises QuotaExceeded."""
    _charge(tx, owner, f"image_upload:{blob}", {FILLING: 1})


def stage(tx: Tx, owner: str, blob: str, size: int) -> None:
    """Count staged bytes. Raises QuotaExceeded."""
    quota.charge(tx, owner, f"image_stage:{blob}", {STAGED: size})


def end(tx: Tx, blob: str | None) -> None:
    """A filling has ended, well or not."""
    if blob is not None:
        quota.refund(tx, f"image_upload:{blob}")
        quota.refund(tx, f"image_stage:{blob}")


def keep(tx: Tx, owner: str, image_id: str, blob: str | None, size: int) -> None:
    """A filling has ended well: its bytes are the image's. Raises QuotaExceeded."""
    _charge(tx, owner, f"image:{image_id}", {BYTES: size})
    end(tx, blob)


def forget(tx: Tx, image_id: str, blob: str | None) -> None:
    """The image is gone, and all that it was charged with."""
    quota.refund(tx, f"image:{image_id}")
    quota.refund(tx, f"image_record:{image_id}")
    end(tx, blob)


def hand_over(tx: Tx, owner: str, image_id: str, size: int | None) -> None:
    """The image gets another owner, who is charged for it from now on. Raises QuotaExceeded."""
    quota.refund(tx, f"image_record:{image_id}")
    register(tx, owner, image_id)
    if size is not None:
        quota.refund(tx, f"image:{image_id}")
        quota.charge(tx, owner, f"image:{image_id}", {BYTES: size})


def room(tx: Tx, owner: str, resource: str) -> int | None:
    """How much more fits; None without a limit."""
    return None if owner == CLOUD else quota.uses(tx, owner, [resource])[resource].room


def uses(tx: Tx, owner: str) -> Mapping[str, Use]:
    """All four resources of a project."""
    return quota.uses(tx, owner, [BYTES, STAGED, COUNT, FILLING])


def _charge(tx: Tx, owner: str, consumer: str, amounts: Mapping[str, int]) -> None:
    if owner != CLOUD:
        quota.charge(tx, owner, consumer, amounts)
