"""/health, /health/live and /health/ready of every service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Response

__all__ = ["Check", "Readiness", "health_router"]

Check = Callable[[], Awaitable[None]]
"""Returns when the dependency answers, raises when it does not."""

_DEADLINE_S = 1.0


class Readiness:
    """True from the end of start-up until the process is told to stop."""

    def __init__(self) -> None:
        self.ready = False


def health_router(service: str, readiness: Readiness, checks: Mapping[str, Check]) -> APIRouter:
    """`live`: the process answers. `ready`: it may be sent requests. `/health`: that, and each dependency by name."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/health/ready")
    async def ready(response: Response) -> dict[str, str]:
        response.status_code = 200 if readiness.ready else 503
        return {"status": "ok" if readiness.ready else "not ready"}

    @router.get("/health")
    async def health(response: Response) -> dict[str, Any]:
        dependencies = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        well = readiness.ready and all(state == "ok" for state in dependencies.values())
        response.status_code = 200 if readiness.ready else 503
        return {"status": "ok" if well else "degraded", "service": service, "dependencies": dependencies}

    return router


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await check()
    except TimeoutError:
        return "no answer"
    except Exception as error:  # noqa: BLE001 - whatever a dependency raises is what this page is for
        return f"failed ({type(error).__name__})"
    return "ok"
