"""The memory that a process may have is the least of its groups' and the machine's."""

import os
from pathlib import Path

import pytest

from data_service.adapters.memory import memory_bound

MACHINE = 8 << 30
V1 = "9:name=systemd:/docker/a\n4:cpu,memory:/docker/a\n"


def bound_of(root: Path, groups: str, files: dict[str, str]) -> int:
    for path, text in {"proc/self/cgroup": groups, **files}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return memory_bound(root, MACHINE)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param("0::/\n", {"sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30, id="v2, in a container"),
        pytest.param("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, MACHINE, id="v2, without a bound"),
        pytest.param(
            "0::/a/b\n",
            {"sys/fs/cgroup/a/memory.max": "2147483648\n", "sys/fs/cgroup/a/b/memory.max": "max\n"},
            2 << 30,
            id="v2, bound by the group around its own",
        ),
        pytest.param("0::/../other\n", {"sys/fs/cgroup/memory.max": "1024\n"}, 1024, id="v2, of a group that is not seen here"),
        pytest.param(V1, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "1048576\n"}, 1 << 20, id="v1, in a container"),
        pytest.param(
            V1, {"sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": "2097152\n"}, 2 << 20, id="v1, seen from the machine"
        ),
        pytest.param(
            V1, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE, id="v1, without a bound"
        ),
        pytest.param(
            f"{V1}0::/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n"}, 4096, id="both, as systemd once mounted them"
        ),
    ],
)
def test_a_bound_is_found_wherever_the_kernel_has_it(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert bound_of(tmp_path, groups, files) == expected


def test_a_groups_name_may_be_any_bytes(tmp_path: Path) -> None:
    group = os.fsdecode(b"/caf\xe9")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(os.fsencode(f"0::{group}\n"))
    of_group = Path(f"{tmp_path}/sys/fs/cgroup{group}")
    of_group.mkdir(parents=True)
    (of_group / "memory.max").write_text("1024\n")
    assert memory_bound(tmp_path, MACHINE) == 1024


def test_without_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bound(tmp_path, MACHINE) == MACHINE
    assert memory_bound() > 0
