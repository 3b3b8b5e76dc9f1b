"""Processes by session: who belongs to one, and how to end all of it. Standard library and `ps` only (Linux, macOS).

A part runs in a session of its own. Airflow gives every task a process group of its own, so a group would miss running
tasks; the session holds them all, however deep. A session's number stays taken while any member lives.
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
    """A session that we started: its leader's pid, when the leader started (as `ps` says it), on which boot."""

    leader: int
    started: str
    boot: str


def boot_id() -> str:
    """Names this boot of this machine: pids mean nothing across boots."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    return subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True).stdout.strip()


def start_time(pid: int) -> str:
    """When the process started, in whatever way this system says it exactly; empty if there is none."""
    if Path("/proc/self/stat").exists():  # ticks since boot: unlike a date, steady when the clock is set
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError):
            return ""
    return _ps("-o", "lstart=", "-p", str(pid)).strip()


def session_of(pid: int) -> Session:
    """The session that `pid` leads, for `members` and `stop` later, perhaps from another process."""
    return Session(pid, start_time(pid), boot_id())


def members(sessions: Sequence[Session]) -> list[int]:
    """Living processes of these sessions, but for a session whose number now belongs to somebody else."""
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
    """Ends every process of these sessions: TERM, then KILL after `grace` seconds.

    TERM goes to each leader, which ends its own workers, and to what is outside the leader's group: running tasks.

    Args:
        reap: called while waiting, to collect children of this process.

    Returns:
        Processes that are still there 10 s after KILL (none, unless the kernel holds one).
    """
    for pid in members(sessions):
        if not _is_worker(pid):
            _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while (left := members(sessions)) and time.monotonic() < deadline:
        reap()
        time.sleep(0.1)
    deadline = time.monotonic() + 10
    while left and time.monotonic() < deadline:
        for pid in left:
            _signal(pid, signal.SIGKILL)
        reap()
        time.sleep(0.1)
        left = members(sessions)
    return left


def _is_worker(pid: int) -> bool:
    """Whether it is in the group of a leader that lives, and not that leader."""
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
