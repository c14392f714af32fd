"""Runs it: `python -m benchmarks.gateway [part …] [--rounds N] [--seconds N] [--keep]`; all parts where none is named."""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.gateway import contenders, ours, targets
from benchmarks.gateway.clients import Measured, client_name, measure
from benchmarks.gateway.contenders import BARE, CACHED, ENVOY, FORWARDED, Contender
from benchmarks.gateway.machine import facts
from benchmarks.gateway.open_loop import Latencies, added_ms, open_loop
from benchmarks.gateway.report import Page, keep, show
from benchmarks.gateway.targets import Verdict
from benchmarks.gateway.throughput import CONNECTIONS, Row, ratio, rows_of
from benchmarks.load import request_of
from tests.support.abandoning import AT_ONCE, abandon_requests
from tests.support.slow_origin import SlowOrigin
from tests.support.stack import Stack, running_stack

RATE = 2_000
CLIENTS = 10_000
STEPS = (1, 4, 16, 64, 256)
RESULTS = Path(__file__).parents[1] / "results"


@dataclass
class Run:
    """What the parts share, and what they have found."""

    rounds: int
    seconds: int
    folder: Path
    stack: Stack
    everyone: list[Contender]
    pages: list[Page] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def named(self, name: str) -> Contender:
        return next(one for one in self.everyone if one.name == name)


def throughput(run: Run) -> None:
    stack = run.stack.owner
    behind = [*([stack.pid] if stack is not None else []), run.everyone[-1].pid]
    rows = rows_of(run.everyone, run.rounds, run.seconds, run.folder, behind)
    how = f"{client_name()}, {CONNECTIONS} connections, {run.seconds} s each in turn, median of {run.rounds} rounds"
    columns = ("", "requests/s", "× nginx", "× Envoy", "p50 ms", "p99 ms", "CPU µs", "behind µs", "client µs")
    cells = [_cells(row, rows) for row in rows.values()]
    run.pages.append(Page("Requests a second", columns, cells, (how, *contenders.NOTES, *ours.NOTES)))
    run.verdicts += targets.of_throughput(rows)
    run.figures["throughput"] = {row.name: asdict(row) for row in rows.values()}


def _cells(row: Row, rows: dict[str, Row]) -> list[str]:
    if row.missing:
        return [row.name, row.missing, *[""] * 7]
    ratios = [f"{figure:.2f}" if (figure := ratio(row, rows[name])) is not None else "" for name in (BARE, ENVOY)]
    p50, p99 = row.median(lambda one: one.p50_ms), row.median(lambda one: one.p99_ms)
    return [
        row.name,
        f"{row.per_second:,.0f}",
        *ratios,
        f"{p50:.2f}",
        f"{p99:.2f}",
        *(f"{took:.0f}" for took in (row.cpu, row.behind, row.client)),
    ]


def latency(run: Run) -> None:
    behind, chosen = run.everyone[-1], [run.named(FORWARDED), run.named(BARE)]
    taken: dict[str, list[Latencies]] = {one.name: [] for one in (behind, *chosen) if not one.missing}
    for _ in range(run.rounds):
        for one in (behind, *chosen):
            if not one.missing:
                requests = [request_of(one.url + target, headers) for target, headers in one.asked]
                taken[one.name].append(open_loop(("127.0.0.1", one.port), requests, RATE, run.seconds))
    rows = []
    for name, rounds in taken.items():
        p50, p99 = (statistics.median(getattr(one, figure) for one in rounds) for figure in ("p50_ms", "p99_ms"))
        added = added_ms(rounds, taken[behind.name], lambda one: one.p50_ms)
        rows.append([name, f"{p50:.2f}", f"{p99:.2f}", f"{added:.2f}", str(sum(one.unanswered for one in rounds))])
        if name == FORWARDED:
            run.verdicts.append(targets.of_latency(added, sum(one.unanswered for one in rounds)))
        run.figures.setdefault("latency", {})[name] = [{"p50_ms": one.p50_ms, "p99_ms": one.p99_ms} for one in rounds]
    note = f"open loop at {RATE:,} a second, each counted from when it was due; {run.seconds} s each in turn, {run.rounds} rounds"
    columns = ("", "p50 ms", "p99 ms", "p50 on top", "unanswered")
    run.pages.append(Page("Latency of a miss", columns, rows, [note, "on top: of what the origin itself takes"]))


def connections(run: Run) -> None:
    one = run.named(CACHED)
    rounds: dict[int, list[Measured]] = {number: [] for number in STEPS}
    for _ in range(run.rounds):
        for number in STEPS:
            rounds[number].append(measure(one.url, one.asked, connections=number, seconds=run.seconds, folder=run.folder))
    middle = [(number, _middle(found)) for number, found in rounds.items()]
    rows = [[str(number), f"{found.per_second:,.0f}", f"{found.p50_ms:.2f}", f"{found.p99_ms:.2f}"] for number, found in middle]
    notes = [f"{CACHED}; it has fallen where it is less than {targets.STEADY} × the best of fewer connections"]
    run.pages.append(Page("Connections", ("", "requests/s", "p50 ms", "p99 ms"), rows, notes))
    run.verdicts += targets.of_connections(middle)
    run.figures["connections"] = {number: [asdict(found) for found in every] for number, every in rounds.items()}


def _middle(rounds: list[Measured]) -> Measured:
    """Of each figure the median."""
    requests, seconds, p50, p99 = (
        statistics.median(getattr(one, name) for one in rounds) for name in ("requests", "seconds", "p50_ms", "p99_ms")
    )
    return Measured(round(requests), seconds, p50, p99)


def disconnects(run: Run) -> None:
    behind = run.everyone[-1]
    found = abandon_requests(run.stack, SlowOrigin(behind.port, behind.pid), CLIENTS)
    kinds = ("upstream", "slots", "descriptors", "tasks", "resident_mib")
    rows = [[kind, str(getattr(found.before, kind)), str(getattr(found.after, kind))] for kind in kinds]
    notes = [
        f"{found.reached:,} were at the origin, which takes 0.1 s for each, when their clients went, in {found.seconds:.1f} s",
        f"after: {found.settled_s:.1f} s after the last had gone; slots: in the store",
        f"the origin was rid of {AT_ONCE} that it never answers {found.let_go_s:.1f} s after their clients went",
    ]
    run.pages.append(Page(f"{CLIENTS:,} clients that go away in mid-request", ("held", "before", "after"), rows, notes))
    run.verdicts.append(targets.of_disconnects(found))
    run.figures["disconnects"] = asdict(found)


PARTS: dict[str, Callable[[Run], None]] = {
    "throughput": throughput,
    "latency": latency,
    "connections": connections,
    "disconnects": disconnects,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.gateway", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write the results to benchmarks/results")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    console, machine = Console(), facts()
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        folder = Path(name)
        with (
            running_stack(folder, {"RATELIMIT_PLANS_PATH": str(ours.plan_file(folder))}) as stack,
            contenders.origin(ours.body_of(stack), folder) as behind,
            ours.gateways(stack, behind.url) as tested,
            contenders.contenders(tested, behind, folder) as everyone,
        ):
            run = Run(asked.rounds, asked.seconds, folder, stack, everyone)
            for part in asked.parts or PARTS:
                PARTS[part](run)
                show(console, run.pages[-1])
    verdicts = Page("Targets", ("", "target", "figure", ""), [[v.path, v.target, v.figure, v.word] for v in run.verdicts])
    show(console, verdicts)
    if asked.keep:
        date = datetime.now(UTC).date()
        for path in keep(RESULTS, f"{date}-gateway", [verdicts, *run.pages], machine, run.figures):
            console.print(f"written to {path.relative_to(RESULTS.parents[1])}")


if __name__ == "__main__":
    main()
