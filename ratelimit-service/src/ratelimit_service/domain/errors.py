"""ratelimit-service's own leaves of the tree in `shared.errors`."""

from shared.errors import Conflict, Forbidden, InvalidInput, NotFound
from shared.limits.plans import PlanFileError

__all__ = ["InForceAlready", "NoOverride", "NoPlan", "NoVersion", "PlansMoved", "TooManyOverrides", "UnfitPlans"]


_MOST = 100


class UnfitPlans(InvalidInput):
    """Each bad rule with its place in the file: the first hundred, for a file may hold nothing else."""

    def __init__(self, error: PlanFileError) -> None:
        faults = [{"loc": ["body", "text", *where], "msg": what, "type": "plan_file"} for where, what in error.located[:_MOST]]
        super().__init__(f"{len(error.located):,} rules of the plan file are unfit", faults)


class PlansMoved(Conflict):
    slug = "plans-moved"
    title = "Other plans are in force"

    def __init__(self, replaces: int, newest: int) -> None:
        super().__init__(f"this replaces version {replaces}, and version {newest} is the newest")


class InForceAlready(Conflict):
    def __init__(self, number: int) -> None:
        super().__init__(f"version {number} is the newest")


class NoVersion(NotFound):
    def __init__(self, number: int) -> None:
        super().__init__(f"no version {number} of the plans is kept")


class NoOverride(NotFound):
    def __init__(self) -> None:
        super().__init__("this tenant has what its tier says")


class TooManyOverrides(Conflict):
    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most:,} overrides; remove one first")


class NoPlan(Forbidden):
    def __init__(self, tier: str) -> None:
        super().__init__(f"no plan is in force for the tier {tier or '-'}")
