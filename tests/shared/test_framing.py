"""Headers that the parser passes and the server does not; what it does with them is in test_server and in tests/security."""

import pytest

from shared.framing import METHODS, MOST_PARAMETERS, fault_of

HOST = (b"host", b"localhost")


def why(
    *fields: tuple[bytes, bytes], method: bytes = b"POST", version: str = "1.1", target: bytes = b"/", upgrades: bool = False
) -> str | None:
    fault = fault_of(method, version, target, fields, upgrades=upgrades)
    return fault.why if fault is not None else None


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8080", b"[::1]", b"[::1]:8080", b"api.example.com:", b"a_b-c.d~"])
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host: bytes) -> None:
    assert why((b"host", host)) is None


@pytest.mark.parametrize("host", [b"", b"a b", b"a,b", b"a@b", b"a/b", b"a:b", b"[::1", b"::1", b"a?b", b"a\\b", b"a:80:80"])
def test_whatever_else_a_host_says_is_refused(host: bytes) -> None:
    assert why((b"host", host)) == "host"


def test_there_is_one_host() -> None:
    assert why() == "host"
    assert why(HOST, HOST) == "host"


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_somebody_answers_pass(method: str) -> None:
    assert why(HOST, method=method.encode()) is None


@pytest.mark.parametrize("target", [b"*", b"http://localhost/", b"localhost:80", b"", b"a/b", b"/a#b", b"#"])
def test_a_target_is_a_path(target: bytes) -> None:
    assert why(HOST, target=target) == "target"


def test_a_query_has_so_many_parameters() -> None:
    assert why(HOST, target=b"/?" + b"&".join([b"a"] * MOST_PARAMETERS)) is None
    assert why(HOST, target=b"/?" + b"&" * MOST_PARAMETERS) == "parameters"


@pytest.mark.parametrize(("coding", "version", "expected"), [
    (b"chunked", "1.1", None),
    (b"Chunked", "1.1", None),
    (b"chunked", "1.0", "coding"),
    (b"gzip, chunked", "1.1", "coding"),
    (b"identity", "1.1", "coding"),
    (b"", "1.1", "coding"),
])  # fmt: skip
def test_a_body_comes_in_chunks_or_as_long_as_it_says(coding: bytes, version: str, expected: str | None) -> None:
    assert why(HOST, (b"transfer-encoding", coding), version=version) == expected


@pytest.mark.parametrize("body", [(b"content-length", b"0"), (b"content-length", b"7"), (b"transfer-encoding", b"chunked")])
def test_what_asks_for_another_protocol_has_no_body(body: tuple[bytes, bytes]) -> None:
    assert why(HOST, upgrades=True) is None
    assert why(HOST, body) is None
    assert why(HOST, body, upgrades=True) == "upgrade"


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0"])
def test_no_other_version_is_spoken(version: str) -> None:
    assert why(HOST, version=version) == "version"
