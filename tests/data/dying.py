"""A process that is killed at a chosen step of what it does to files."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die_at(step: int) -> None:
    """From here on this process is killed before the `step`th thing it does to a file."""
    steps = itertools.count(1)

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **named)

        return run

    for name in ("pwrite", "fsync", "unlink", "rename"):
        setattr(os, name, dying(getattr(os, name)))
    for name in ("rename", "unlink", "open"):
        setattr(Path, name, dying(getattr(Path, name)))
