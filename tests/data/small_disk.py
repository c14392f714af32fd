"""A real disk of three megabytes, in a mount namespace of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import ROOT


def run_on_a_small_disk(folder: Path, module: str, *arguments: str) -> list[str]:
    """Runs `python -m module folder *arguments` with the disk mounted at `folder`; the words it prints."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size=3m tmpfs "{folder}" && exec "$@"'
    command = [sys.executable, "-m", module, str(folder), *arguments]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
