"""The tables, as they are printed and as they are kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Page", "keep", "show"]


@dataclass(frozen=True)
class Page:
    """One table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def markdown(self) -> str:
        lines = [f"## {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def printed(self) -> Table:
        table = Table(
            *self.columns, title=self.title, title_justify="left", caption="\n".join(self.notes), caption_justify="left"
        )
        for row in self.rows:
            table.add_row(*row)
        return table


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def show(console: Console, page: Page) -> None:
    console.print(page.printed())
    console.print()


def keep(folder: Path, name: str, pages: Sequence[Page], machine: Mapping[str, str], figures: Mapping[str, Any]) -> list[Path]:
    """As `<name>.md` and, with every round, as `<name>.json`."""
    folder.mkdir(exist_ok=True)
    about = Page("The machine", ("", ""), list(machine.items()))
    text = folder / f"{name}.md"
    text.write_text("\n".join(["# The gateway, measured\n", *(page.markdown for page in [*pages, about])]))
    data = folder / f"{name}.json"
    data.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
    return [text, data]
