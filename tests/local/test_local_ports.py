"""Ports of the services: reserved, refused at once while nobody serves, and a clear message when taken."""

import socket
from contextlib import closing

import pytest

from kalpi_local.errors import LocalError
from kalpi_local.net import LOCALHOST, Reservation, free_port
from kalpi_local.services import AUTH, GATEWAY, environment, gateway_workers, reserve, wanted_port


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((LOCALHOST, port)) == 0


def test_a_reserved_port_refuses_at_once_until_a_process_listens_and_again_when_it_is_gone() -> None:
    with closing(Reservation(0, taken="")) as reservation:
        for _ in range(2):
            assert not connects(reservation.port)
            with reservation.fresh() as listener:
                assert not connects(reservation.port)
                listener.listen()
                assert connects(reservation.port)
        assert not connects(reservation.port)


def test_several_workers_can_listen_on_one_reserved_port() -> None:
    with closing(Reservation(0, taken="")) as reservation, reservation.fresh() as one, reservation.fresh() as other:
        one.listen()
        other.listen()
        assert one.getsockname() == other.getsockname()


def test_a_taken_port_names_the_variable_that_chooses_another() -> None:
    with socket.create_server((LOCALHOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=rf"^port {port} is taken: choose another, as in KALPI_GATEWAY_PORT=\d+ make run"):
            reserve("KALPI_GATEWAY_PORT", port)


def test_a_port_reserved_by_another_stack_is_taken_even_while_none_of_its_processes_lives() -> None:
    with closing(Reservation(0, taken="")) as reservation:
        with pytest.raises(LocalError, match="mine"):
            Reservation(reservation.port, taken="mine")
        assert free_port(reservation.port) != reservation.port


def test_a_port_is_free_right_after_a_server_closed_its_connections() -> None:
    """They linger in TIME_WAIT for a minute; that is no reason to refuse."""
    with socket.create_server((LOCALHOST, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOCALHOST, port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    assert free_port(port) == port
    with closing(Reservation(port, taken="still lingering")) as reservation:
        assert reservation.port == port


@pytest.mark.parametrize(
    ("environ", "free", "port"),
    [({}, False, 8080), ({"P": ""}, False, 8080), ({"P": "9000"}, False, 9000), ({"P": "0"}, False, 0), ({"P": "9000"}, True, 0)],
)
def test_a_port_is_the_default_unless_chosen(environ: dict[str, str], free: bool, port: int) -> None:
    assert wanted_port("P", 8080, environ, free=free) == port


@pytest.mark.parametrize("text", ["-1", "65536", "http", "80.0", "٣"])
def test_what_is_not_a_port_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match=r"^P=.* is not a port"):
        wanted_port("P", 8080, {"P": text}, free=False)


@pytest.mark.parametrize("text", ["0", "-2", "65", "many"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match=r"^KALPI_GATEWAY_WORKERS=.* is not a number from 1 to 64"):
        gateway_workers({"KALPI_GATEWAY_WORKERS": text})


def test_a_service_gets_nothing_that_is_meant_for_another() -> None:
    environ = {
        "PATH": "/bin",
        "AUTH_SIGNING_KEY": "secret of auth",
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_PORT": "1",
        "KALPI_PREMIUM_KEY": "a demo key",
        "DATABASE_URL": "the operator's",
    }
    given = {"REDIS_URL": "redis://given", "GATEWAY_LOG_LEVEL": "info"}
    gateway = environment(GATEWAY, given, environ)
    assert gateway == {"PATH": "/bin", "GATEWAY_LOG_LEVEL": "debug", "REDIS_URL": "redis://given"}
    assert environment(AUTH, {}, environ) == {"PATH": "/bin", "AUTH_SIGNING_KEY": "secret of auth"}
