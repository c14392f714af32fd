"""Ten thousand clients that go away while their request is at a service: nothing of them stays in a real gateway process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.abandoning import AT_ONCE, Abandoned, abandon_requests
from tests.support.slow_origin import slow_origin
from tests.support.stack import Stack

CLIENTS = 10_000
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc"),
    pytest.mark.timeout(300),  # ten seconds' work, on a machine that may be busy
]


@pytest.fixture(scope="module")
def abandoned(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abandoned]:
    folder: Path = tmp_path_factory.mktemp("origin")
    (folder / "body").write_bytes(b"{}" * 6_000)
    with slow_origin(folder / "body", folder / "log") as origin:
        yield abandon_requests(stack, origin, CLIENTS)


def test_they_were_in_mid_request(abandoned: Abandoned) -> None:
    assert abandoned.reached >= 0.99 * CLIENTS


def test_no_request_is_left_at_the_service_and_no_slot_of_a_caller_is_taken(abandoned: Abandoned) -> None:
    assert (abandoned.after.upstream, abandoned.after.slots) == (0, 0)


def test_no_file_descriptor_and_no_task_is_left(abandoned: Abandoned) -> None:
    """But connections to the service that are kept, of which there were never more than requests at a time."""
    assert abandoned.after.descriptors < abandoned.before.descriptors + AT_ONCE
    assert abandoned.after.tasks <= abandoned.before.tasks


def test_memory_is_as_it_was(abandoned: Abandoned) -> None:
    """Each had 12 KB on the way to it: 120 MB in all. Allocators keep some of what has been freed."""
    assert abandoned.after.resident_mib - abandoned.before.resident_mib < 16


def test_as_many_as_before_pass_at_one_time(abandoned: Abandoned) -> None:
    assert abandoned.through == AT_ONCE
