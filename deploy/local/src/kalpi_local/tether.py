"""Runs a command that ends with the process that started it.

    python -I -S tether.py PARENT SIGNAL IDENTITY command …

SIGNAL is sent to the command when PARENT dies, even by SIGKILL (Linux: prctl(2), PR_SET_PDEATHSIG; elsewhere a later start
finds it by its recorded pid). IDENTITY is one of

    same            the caller's own
    namespace:UID   a new user namespace in which the caller's uid is called UID: root is then an ordinary user, and no file
                    changes hands
    user:UID:GID    that user, for good

A file of its own, of the standard library alone: it starts in 20 ms.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def _enter_namespace(libc: ctypes.CDLL, name: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit(f"user namespaces are not allowed here: {os.strerror(ctypes.get_errno())}")
    process = Path("/proc/self")
    (process / "uid_map").write_text(f"{name} {uid} 1")
    (process / "setgroups").write_text("deny")
    (process / "gid_map").write_text(f"{name} {gid} 1")


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    parent, number, identity, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    match identity.split(":"):
        case ["namespace", name]:
            _enter_namespace(libc, int(name))
        case ["user", uid, gid]:
            _become(int(uid), int(gid))
    if sys.platform == "linux":
        # after the change of identity, which clears it
        libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != int(parent):
            sys.exit("the starting process is gone")
    os.execvp(command[0], command)  # noqa: S606 - running the given command is this file's purpose


if __name__ == "__main__":
    main(sys.argv[1:])
