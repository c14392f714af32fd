"""What a plan has to allow: the indicators, also those inside of an expression, and the feature that brings them together."""

from collections.abc import Iterable
from datetime import date

from indicator_service.domain.indicator import Indicator
from indicator_service.domain.request import Parameters
from indicator_service.domain.series import Bars
from shared.errors import TierRequired
from shared.limits.book import PlanWatcher
from shared.limits.history import HistoryWindow, history_window
from shared.limits.plans import Feature
from shared.principal import Envelope

__all__ = ["check_feature", "check_indicators", "check_parameters", "window_of"]


def check_indicators(caller: Envelope, plans: PlanWatcher, used: Iterable[Indicator]) -> None:
    """Raises TierRequired for the first that the caller's plan has not."""
    for indicator in used:
        if indicator.type == "custom":  # a plan lists no names of users' own, but what those are made of is `used` as well
            check_feature(caller, plans, "custom_indicators")
            continue
        if not caller.entitled.allows_indicator(indicator.name, indicator.feature):
            required = plans.book.first_tier_with(indicator.name, indicator.feature)
            raise TierRequired(f"{indicator.name} is not part of the tier {caller.principal.tier}", required)


def check_parameters(caller: Envelope, plans: PlanWatcher, parameters: Parameters) -> None:
    check_indicators(caller, plans, [parameters.indicator, *parameters.uses])
    if parameters.has_expressions:
        check_feature(caller, plans, "expressions")


def check_feature(caller: Envelope, plans: PlanWatcher, feature: Feature) -> None:
    if feature not in caller.entitled.features:
        required = plans.book.first_tier_having(feature)
        raise TierRequired(f"{feature.replace('_', ' ')} are not part of the tier {caller.principal.tier}", required)


def window_of(caller: Envelope, plans: PlanWatcher, bars: Bars, start: date | None, end: date | None) -> HistoryWindow:
    """What of start..end (None: open) the caller sees of a symbol; TierRequired when that is nothing."""
    oldest, newest = bars.days
    return history_window(caller.entitled, plans, oldest=oldest, newest=newest, start=start, end=end)
