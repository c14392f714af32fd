"""What readers see: the newest bars of each symbol, and views of them."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import date

from data_service.domain.adjustment import Adjustment
from data_service.domain.errors import UnknownSymbol
from data_service.domain.intervals import Interval
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.symbols import SymbolBars, View

__all__ = ["BarStore"]

_ViewKey = tuple[str, str, Interval, Adjustment, date | None]


class BarStore:
    """`snapshot` gives the newest bars; asking it costs a few microseconds. `views_bytes` bounds the views that are kept."""

    def __init__(self, snapshot: Callable[[], IndexedSnapshot], views_bytes: int = 64 << 20) -> None:
        self._snapshot = snapshot
        self._views: OrderedDict[_ViewKey, View] = OrderedDict()
        self._left = views_bytes

    def snapshot(self) -> IndexedSnapshot:
        """All of it at this moment."""
        return self._snapshot()

    def stored(self, symbol: str) -> SymbolBars:
        try:
            return self._snapshot().of(symbol)
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def view(self, stored: SymbolBars, interval: Interval, adjustment: Adjustment, as_of: date | None = None) -> View:
        """Computed once for each version of a symbol's bars, as long as there is room; `NotServed`."""
        key = (stored.symbol, stored.data_version, interval, adjustment, as_of)
        view = self._views.get(key)
        if view is None:
            view = stored.view(interval, adjustment, as_of)
            self._keep(key, view)
        else:
            self._views.move_to_end(key)
        return view

    def _keep(self, key: _ViewKey, view: View) -> None:
        self._views[key] = view
        self._left -= view.nbytes
        while self._left < 0:
            _, oldest = self._views.popitem(last=False)
            self._left += oldest.nbytes
