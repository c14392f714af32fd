"""`kalpi data …`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from data_service.adapters.parquet import write_dataset
from data_service.domain.synthetic import universe

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Bars: make some.")


@app.callback()
def _root() -> None:
    """Keeps `synth` a subcommand while it is the only one."""


@app.command()
def synth(
    symbols: Annotated[int, typer.Option(min=1, max=100_000, help="how many symbols")],
    years: Annotated[int, typer.Option(min=1, max=60, help="how many years of weekdays")],
    out: Annotated[Path, typer.Option(help="a folder to write to; must not hold anything yet")] = Path("synthetic"),
    seed: Annotated[int, typer.Option(min=0, help="the same seed makes the same bars")] = 1,
) -> None:
    """Writes a deterministic synthetic universe, which DATA_BARS_PATH can name."""
    console = Console(stderr=True)
    if out.exists() and any(out.iterdir()):
        console.print(f"{out} already holds something; choose another folder with --out", style="red", highlight=False)
        raise typer.Exit(1)
    made = track(universe(symbols, years, seed), total=symbols, description="making bars", console=console)
    rows = write_dataset(out, made)
    console.print(f"{symbols} symbols, {rows:,} bars: DATA_BARS_PATH={out}", highlight=False)
