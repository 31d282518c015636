"""Children die with their parent, even when it is killed with -9: the kernel sees to it (prctl(2), Linux).

SIGKILL and not SIGTERM, because an orphan that drains may hang, and what was acknowledged survives SIGKILL anyway.
"""

from __future__ import annotations

import ctypes
import os
import signal

PARENT = "_RELO_PARENT_PID"
PR_SET_PDEATHSIG = 1


def mark_parent(environ: dict[str, str] | os._Environ[str]) -> None:
    """Children started with this environment belong to this process."""
    environ[PARENT] = str(os.getpid())


def die_with_parent() -> None:
    """Tie this process's life to that of the process that started it, if that one asked for it."""
    parent = os.environ.pop(PARENT, "")
    if not parent:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != int(parent):  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)
