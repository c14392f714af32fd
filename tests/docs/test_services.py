"""docs/services.md names every variable that a service reads, and no other."""

import re
from collections.abc import Iterator

from tests.deploy.files import SERVICES, variables
from tests.support.stack import ROOT

PAGE = (ROOT / "docs/services.md").read_text()
READ = {variable for service in SERVICES for variable in variables(service)}


def expanded(name: str) -> Iterator[str]:
    """`A_{B,C}` is A_B and A_C; `<PREFIX>_A` is a variable of each service."""
    if "<PREFIX>" in name:
        for service in SERVICES:
            yield from expanded(name.replace("<PREFIX>", service.prefix))
    elif braces := re.search(r"\{([^}]*)\}", name):
        for part in braces[1].split(","):
            yield from expanded(name.replace(braces[0], part, 1))
    elif re.fullmatch(r"[A-Z0-9]+(_[A-Z0-9]+)+", name):
        yield name


def named() -> set[str]:
    section = PAGE.partition("## Variables")[2].partition("\n## ")[0]
    return {variable for written in re.findall(r"`([^`]+)`", section) for variable in expanded(written)}


def test_the_pages_short_forms_are_understood() -> None:
    assert set(expanded("GATEWAY_{AUTH,DATA}_URLS")) == {"GATEWAY_AUTH_URLS", "GATEWAY_DATA_URLS"}
    assert set(expanded("<PREFIX>_FD")) == {"GATEWAY_FD", "AUTH_FD", "DATA_FD", "INDICATOR_FD", "RATELIMIT_FD"}
    assert not set(expanded("redis://…"))


def test_every_variable_a_service_reads_is_on_the_page() -> None:
    assert not READ - named()


def test_every_variable_on_the_page_is_read_by_a_service() -> None:
    assert not named() - READ
