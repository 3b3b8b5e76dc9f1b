"""Processes by session: its members, and how to end them all. Standard library and `ps` only (Linux, macOS).

A part runs in a session of its own. Airflow gives every task a process group of its own, so that a group would miss
running tasks; the session has them all, however deep. A session's number stays in use while any member lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Session:
    """A session that we started: its leader's pid, the leader's start time (by `start_time`), and the boot."""

    leader: int
    started: str
    boot: str


def boot_id() -> str:
    """An id of this boot of this machine, since pids mean nothing across boots."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    return subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True).stdout.strip()


def start_time(pid: int) -> str:
    """When the process started, in the most exact form that this system has; empty if there is no such process."""
    if Path("/proc/self/stat").exists():  # ticks since boot, which do not change when the clock is set
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError):
            return ""
    return _ps("-o", "lstart=", "-p", str(pid)).strip()


def session_of(pid: int) -> Session:
    """The session that `pid` leads, for `members` and `stop` later, perhaps from another process."""
    return Session(pid, start_time(pid), boot_id())


def members(sessions: Sequence[Session]) -> list[int]:
    """Living processes of these sessions, except a session whose number now belongs to another one."""
    boot = boot_id()
    ours = {s.leader for s in sessions if s.boot == boot and start_time(s.leader) in ("", s.started)}
    living = []
    for line in _ps("-A", "-o", "pid=,stat=").splitlines() if ours else ():
        pid, stat = line.split()[:2]
        with suppress(ProcessLookupError, PermissionError):
            if not stat.startswith("Z") and os.getsid(int(pid)) in ours:
                living.append(int(pid))
    return living


def stop(sessions: Sequence[Session], grace: float, reap: Callable[[], object] = lambda: None) -> list[int]:
    """End every process of these sessions: TERM, then KILL after `grace` seconds.

    TERM goes to each leader, which ends its own workers, and to processes outside the leader's group: running tasks.

    Args:
        reap: called while waiting, to collect children of this process.

    Returns:
        Processes that still live 10 s after KILL (none, unless the kernel blocks one).
    """
    for pid in members(sessions):
        if not _is_worker(pid):
            _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while (remaining := members(sessions)) and time.monotonic() < deadline:
        reap()
        time.sleep(0.1)
    deadline = time.monotonic() + 10
    while remaining and time.monotonic() < deadline:
        for pid in remaining:
            _signal(pid, signal.SIGKILL)
        reap()
        time.sleep(0.1)
        remaining = members(sessions)
    return remaining


def _is_worker(pid: int) -> bool:
    """Whether a process is in the group of a living leader, and is not that leader."""
    with suppress(ProcessLookupError):
        leader = os.getsid(pid)
        return pid != leader and os.getpgid(pid) == leader and start_time(leader) != ""
    return False


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _ps(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["ps", *arguments], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
    except FileNotFoundError:
        sys.exit("flightdeck: the command `ps` is missing; install procps")
