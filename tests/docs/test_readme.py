"""Every command of the README runs, and what it prints is what the README says."""

import json
import os
import re
import subprocess

import pytest

from tests.support.stack import ROOT, Stack

README = (ROOT / "README.md").read_text()
BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
STARTED_BY_THE_FIXTURE = "make run\n"
RUNNING_NOW = "make test\n"


def run(stack: Stack, script: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KALPI_")}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=stack.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_starts_with_its_two_commands() -> None:
    assert BLOCKS[:2] == [STARTED_BY_THE_FIXTURE, RUNNING_NOW]
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("script", BLOCKS[2:], ids=lambda script: script.splitlines()[-1][:50])
def test_each_command_runs(stack: Stack, script: str) -> None:
    output = run(stack, script)
    assert "urn:kalpi:problem" not in output


def test_the_first_answer_is_the_one_printed(stack: Stack) -> None:
    request = next(block for block in BLOCKS if "/indicators/rsi" in block)
    printed = re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0]
    assert json.loads(run(stack, request)) == json.loads(printed)


def test_the_printed_curl_line_works_when_pasted(stack: Stack) -> None:
    line = next(line for line in stack.output().splitlines() if line.strip().startswith("curl "))
    answer = json.loads(run(stack, line))
    assert (answer["symbol"], answer["indicator"]) == ("AAPL", "rsi")


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
