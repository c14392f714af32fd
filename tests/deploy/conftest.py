"""The `.env` of docs/operations.md, made once by its own command."""

from pathlib import Path

import pytest

from tests.deploy.files import blocks, run_shell


@pytest.fixture(scope="session")
def env_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `.env` in it."""
    folder = tmp_path_factory.mktemp("operator")
    done = run_shell(blocks()[0], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def environ(env_folder: Path) -> dict[str, str]:
    lines = (env_folder / ".env").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
