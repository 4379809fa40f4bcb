"""One date for everything on an ISO 9660 image, because the part that writes it stamps the time of writing.

Sources: ECMA-119 (volume descriptors, directory records), SUSP and RRIP 1.09 (TF and CE entries).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

SECTOR = 2048
FIRST_DESCRIPTOR = 16
VOLUME_DATES = 813
ROOT_RECORD = 156
RECORD_DATE = 18
DIRECTORY = 2
LONG_FORM = 0x80


def set_dates(image: bytes, when: datetime) -> bytes:
    """The image with every date in it set to `when` (UTC)."""
    data = bytearray(image)
    short = bytes((when.year - 1900, when.month, when.day, when.hour, when.minute, when.second, 0))
    long = when.strftime("%Y%m%d%H%M%S00").encode() + b"\0"
    sector = FIRST_DESCRIPTOR
    while data[sector * SECTOR] != 255:
        start = sector * SECTOR
        if data[start] in (1, 2):
            data[start + VOLUME_DATES : start + VOLUME_DATES + 34] = long * 2
            data[start + VOLUME_DATES + 51 : start + VOLUME_DATES + 68] = long
            for record in _records(data, start + ROOT_RECORD):
                data[record + RECORD_DATE : record + RECORD_DATE + 7] = short
                for entry in _time_stamps(data, *_system_use(data, record)):
                    stamps = data[entry + 2] - 5
                    stamp = long if data[entry + 4] & LONG_FORM else short
                    data[entry + 5 : entry + 5 + stamps] = stamp * (stamps // len(stamp))
        sector += 1
    return bytes(data)


def _records(data: bytearray, record: int) -> Iterator[int]:
    """A directory record and all below it, by position; `.` and `..` of each folder too."""
    yield record
    if not data[record + 25] & DIRECTORY:
        return
    start = _number(data, record + 2) * SECTOR
    end = start + _number(data, record + 10)
    position = start
    while position < end:
        length = data[position]
        if length == 0:
            position += SECTOR - position % SECTOR
        elif data[position + 32] == 1 and data[position + 33] in (0, 1):
            yield position
            position += length
        else:
            yield from _records(data, position)
            position += length


def _system_use(data: bytearray, record: int) -> tuple[int, int]:
    """Where a record's system use area begins and ends."""
    name = data[record + 32]
    return record + 33 + name + (1 - name % 2), record + data[record]


def _time_stamps(data: bytearray, position: int, end: int) -> Iterator[int]:
    """Positions of the TF entries, also in a continuation area."""
    while position + 4 <= end and data[position + 2] >= 4:
        kind = bytes(data[position : position + 2])
        if kind == b"TF":
            yield position
        elif kind == b"CE":
            start = _number(data, position + 4) * SECTOR + _number(data, position + 12)
            yield from _time_stamps(data, start, start + _number(data, position + 20))
        position += data[position + 2]


def _number(data: bytearray, position: int) -> int:
    """A both-endian 32-bit number's little-endian half."""
    return int.from_bytes(data[position : position + 4], "little")
