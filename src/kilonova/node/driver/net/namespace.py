"""Network namespaces as files below /run/netns, as ip-netns(8) keeps them.

All functions block and belong on a worker thread. What has to happen inside a namespace happens on a thread of its own
that is thrown away afterwards: a thread that could not return would poison a pool.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from pyroute2 import netns

RUN: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000

T = TypeVar("T")


def list_namespaces() -> frozenset[str]:
    """The names of all namespaces of this host, ours or not."""
    return frozenset(entry.name for entry in RUN.iterdir()) if RUN.is_dir() else frozenset()


def add_namespace(name: str) -> None:
    """Make a namespace unless it exists. A file that a crash left without its mount is replaced."""
    path = RUN / name
    if path.exists():
        if os.path.ismount(path):
            return
        path.unlink()

    def detach() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)
        netns.attach(name, threading.get_native_id())

    # pyroute2's own create() forks, which a process full of threads is not to do.
    _run_aside(detach)


def remove_namespace(name: str) -> None:
    """Take a namespace away. Its interfaces go when nothing runs in it any more."""
    path = RUN / name
    if not path.exists():
        return
    if os.path.ismount(path):
        netns.remove(name)
    else:
        path.unlink()


def run_inside(name: str, function: Callable[[], T]) -> T:
    """What `function` returns or raises inside a namespace: the sockets and processes that it makes are born there."""

    def enter() -> T:
        netns.setns(name, flags=0)
        return function()

    return _run_aside(enter)


def _run_aside(function: Callable[[], T]) -> T:
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(function())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
