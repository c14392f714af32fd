"""The gateways under test: real processes of one worker each, beside a whole stack with its real services and servers.

One stands before the real indicator-service and answers from its cache. The other's indicator-service is the origin that all
contenders share; its answers carry no surrogate key, so none is kept, and each request asks for something else, so none waits for
another's answer: the cache is off.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import httpx
import yaml

from benchmarks.gateway.clients import Asked
from benchmarks.gateway.keys import make_keys
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.stack import Stack

__all__ = ["NOTES", "Ours", "body_of", "gateways", "plan_file"]

KEYS = 1_000
PRO_A_DAY = 9_999
_RSI = "/api/v1/indicators/rsi"
TARGET = f"{_RSI}?symbol=AAPL&limit=250"
NOTES = (
    f"plans as shipped (pro: a burst of 25 a second) but for its day: {PRO_A_DAY:,}, which lasts and is too little to be leased",
    "a caller is remembered for 10 s: the load before a measurement meets most of the look-ups of the 1,000 keys",
)


@dataclass(frozen=True)
class Ours:
    cached: GatewayProcess
    forwarding: GatewayProcess
    enterprise: dict[str, str] = field(repr=False)
    pro_keys: list[str] = field(repr=False)
    target: str = TARGET

    @property
    def named(self) -> Asked:
        """More requests that differ than heads are remembered by a gateway."""
        return [(self.target, {**self.enterprise, "X-Request-Id": f"bench-{number:06}"}) for number in range(10_000)]

    @property
    def forwarded(self) -> Asked:
        """A thousand requests that differ."""
        return [(f"{_RSI}?symbol=AAPL&limit=250&time_period={period}", self.enterprise) for period in range(2, 1_002)]


def plan_file(folder: Path) -> Path:
    """The shipped one, with another quota of the tier pro."""
    plans = yaml.safe_load(files("ratelimit_service").joinpath("plans.yaml").read_text("utf-8"))
    plans["tiers"]["pro"]["limits"]["day"] = PRO_A_DAY
    path = folder / "plans.yaml"
    path.write_text(yaml.safe_dump(plans, sort_keys=False))
    return path


def body_of(stack: Stack) -> bytes:
    """What all answer: 250 bars of RSI."""
    return httpx.get(stack.url + TARGET, headers=stack.key("enterprise"), trust_env=False).raise_for_status().content


@contextmanager
def gateways(stack: Stack, origin_url: str) -> Iterator[Ours]:
    keys = asyncio.run(make_keys(stack, KEYS))
    with (
        gateway_process(stack, "cached") as cached,
        gateway_process(stack, "forwarding", {"GATEWAY_INDICATOR_URLS": origin_url}) as forwarding,
    ):
        yield Ours(cached, forwarding, stack.key("enterprise"), keys)
