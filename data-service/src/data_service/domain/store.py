"""What readers see: the newest bars of each symbol, and views of them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import date

from data_service.domain.adjustment import Adjustment
from data_service.domain.errors import UnknownSymbol
from data_service.domain.intervals import Interval
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.symbols import Days, SymbolBars, View

__all__ = ["BarStore"]

_BYTES_A_BAR = 56
_ViewKey = tuple[str, str, Interval, Adjustment, date | None]


class BarStore:
    """`snapshot` gives the newest bars; asking it costs a few microseconds. `views_bytes` bounds the views that are kept."""

    def __init__(self, snapshot: Callable[[], IndexedSnapshot], views_bytes: int = 64 << 20) -> None:
        self._snapshot = snapshot
        self._views: OrderedDict[_ViewKey, View] = OrderedDict()
        self._most = self._left = views_bytes
        self._turn = threading.Lock()

    def snapshot(self) -> IndexedSnapshot:
        """All of it at this moment."""
        return self._snapshot()

    def stored(self, symbol: str) -> SymbolBars:
        try:
            return self._snapshot().of(symbol)
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def view(
        self,
        stored: SymbolBars,
        interval: Interval,
        adjustment: Adjustment,
        as_of: date | None = None,
        between: Days = (None, None),
    ) -> View:
        """Computed once for each version of a symbol's bars, as long as there is room; `NotServed`. Of so many bars of less than
        a day that there never is, only the months `between` two days are looked at."""
        if stored.rows_for(interval) * _BYTES_A_BAR > self._most:
            return stored.view(interval, adjustment, as_of, between=between)
        key = (stored.symbol, stored.data_version, interval, adjustment, as_of)
        with self._turn:
            if (view := self._views.get(key)) is not None:
                self._views.move_to_end(key)
                return view
        view = stored.view(interval, adjustment, as_of)
        with self._turn:
            self._keep(key, view)
        return view

    def _keep(self, key: _ViewKey, view: View) -> None:
        if (old := self._views.pop(key, None)) is not None:
            self._left += old.nbytes
        self._views[key] = view
        self._left -= view.nbytes
        while self._left < 0:
            _, oldest = self._views.popitem(last=False)
            self._left += oldest.nbytes
