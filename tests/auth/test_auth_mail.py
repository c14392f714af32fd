"""Mail arrives, as often as it must be tried, and what is sent once is not sent again."""

import asyncio
import ipaddress
import ssl
import stat
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from auth_service.adapters.mailers import mailer_of
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.errors import MailRefused
from auth_service.domain.mailing import HELD_FOR, Postman, password_changed, retry_after
from auth_service.domain.model import Letter, Mail
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.ids import new_id
from shared.postgres import open_engine
from tests.auth.auth_world import MovableClock, running_world, settings_of
from tests.support.poll import until
from tests.support.smtp import SmtpServer, smtp_server

LETTER = Letter(new_id(), "ada@example.com", "Ümlaut", "Grüße\n.\nand a line with a dot alone before\n")


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as server:
        yield server


class Post:
    """The outbox of a database, and a postman who goes when he is told to. Every mail is a notice."""

    def __init__(self, database: PostgresDatabase, server: SmtpServer) -> None:
        self.database = database
        self.server = server
        self.clock = MovableClock()
        self.outcomes: Counter[str] = Counter()

    def postman(self) -> Postman:
        """Another one is another process."""
        return Postman(
            self.database,
            mailer_of(f"smtp://127.0.0.1:{self.server.port}?tls=none", "kalpi@example.com", self.clock),
            {"password_changed": password_changed},
            lambda _kind, outcome: self.outcomes.update([outcome]),
            kept_for={"password_changed": timedelta(days=3)},
            clock=self.clock,
        )

    async def post(self, address: str) -> UUID:
        mail = Mail(new_id(), "password_changed", address, self.clock())
        await self.database.mails.add(mail)
        return mail.id

    async def waiting(self) -> int:
        in_a_week = self.clock() + timedelta(days=7)
        return len(await self.database.mails.take(in_a_week, in_a_week, 100))


@pytest.fixture
async def post(own_database_url: str, server: SmtpServer) -> AsyncIterator[Post]:
    engine = open_engine(own_database_url, service="test", pool_size=5, command_timeout_s=5)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        yield Post(database, server)


# ----- the outbox


@pytest.mark.parametrize("fault", ["connect", "MAIL", "RCPT", "content", "a closed connection"])
async def test_what_the_server_does_not_take_is_tried_again_later_and_then_arrives_once(post: Post, fault: str) -> None:
    postman = post.postman()
    post.server.answers[fault] = "421 not now"
    post.server.hangs_up = fault == "a closed connection"
    await post.post("ada@example.com")
    for wait in (5, 10, 20):
        assert await postman.deliver_batch() == 1
        with pytest.raises(Unavailable):
            await postman.check()
        post.clock.forward(seconds=wait - 1)
        assert await postman.deliver_batch() == 0, "not before it is due"
        post.clock.forward(seconds=1)
    post.server.answers.clear()
    post.server.hangs_up = False
    assert await postman.deliver_batch() == 1
    await postman.check()
    assert len(post.server.to("ada@example.com")) == 1
    assert post.outcomes == {"retried": 3, "sent": 1}
    assert await post.waiting() == 0


async def test_an_address_that_the_server_refuses_is_not_tried_again(post: Post) -> None:
    post.server.answers["RCPT"] = "550 no such mailbox"
    await post.post("ada@example.com")
    assert await post.postman().deliver_batch() == 1
    assert post.outcomes == {"refused": 1}
    assert await post.waiting() == 0


async def test_an_address_that_no_server_of_this_kind_can_take_holds_up_nothing(post: Post) -> None:
    """Anybody can register one: it is no fault of the mail server, and not tried again."""
    await post.post("jörg@example.com")
    postman = post.postman()
    await postman.deliver_batch()
    await postman.check()
    assert (post.server.taken, await post.waiting(), post.outcomes) == ([], 0, {"refused": 1})


async def test_what_could_not_be_sent_in_time_is_counted_and_given_up(post: Post) -> None:
    post.server.answers["MAIL"] = "451 not now"
    await post.post("ada@example.com")
    await post.postman().deliver_batch()
    post.clock.forward(days=3)
    await post.postman().deliver_batch()
    assert post.outcomes == {"retried": 1, "expired": 1}
    assert (post.server.taken, await post.waiting()) == ([], 0)


async def test_a_mail_that_was_taken_and_not_sent_is_taken_again(post: Post) -> None:
    """As by a process that was killed: before it sent it, or after that and before it said so."""
    mail_id = await post.post("ada@example.com")
    now = post.clock()
    assert [mail.id for mail in await post.database.mails.take(now, now + HELD_FOR, 5)] == [mail_id]
    assert await post.postman().deliver_batch() == 0, "the other may still be at it"
    post.clock.forward(seconds=HELD_FOR.total_seconds())
    assert await post.postman().deliver_batch() == 1
    (message,) = post.server.to("ada@example.com")
    assert message["Message-ID"] == f"<{mail_id}@example.com>"


async def test_several_processes_do_not_send_one_mail_twice(post: Post) -> None:
    addresses = [f"user-{number}@example.com" for number in range(12)]
    for address in addresses:
        await post.post(address)
    taken = await asyncio.gather(*(post.postman().deliver_batch() for _ in range(3)))
    assert sum(taken) == 12
    assert sorted(one.to for one in post.server.taken) == sorted(addresses)


async def test_the_service_sends_at_once_and_counts(own_database_url: str, nats_url: str, server: SmtpServer) -> None:
    url = SecretStr(f"smtp://127.0.0.1:{server.port}?tls=none")
    async with running_world(settings_of(own_database_url, nats_url, mail_url=url)) as world:
        person = await world.register()
        await world.call("POST", "/api/v1/auth/password/forgot", json={"email": person.email})

        async def counted() -> bool:
            return 'kalpi_auth_mails_total{kind="reset",outcome="sent"} 1.0' in (await world.client.get("/metrics")).text

        await until(counted, what="a mail that is sent")
        assert (await world.client.get("/health")).json()["dependencies"]["mail"] == "ok"
    (message,) = server.to(person.email)
    assert "/api/v1/auth/password/reset" in message.get_content()


def test_retries_are_ever_further_apart() -> None:
    assert [retry_after(attempts).total_seconds() for attempts in (1, 2, 3, 8, 9, 10**6)] == [5, 10, 20, 640, 900, 900]


# ----- delivery


async def send(url: str) -> None:
    await mailer_of(url, "Kalpi <kalpi@example.com>", system_clock).send(LETTER)


async def test_a_letter_arrives_as_it_was_written(server: SmtpServer) -> None:
    await send(f"smtp://127.0.0.1:{server.port}?tls=none")
    (message,) = server.to(LETTER.to)
    assert (message["To"], message["From"], message["Subject"]) == (LETTER.to, "Kalpi <kalpi@example.com>", LETTER.subject)
    assert message.get_content().replace("\r\n", "\n") == LETTER.text
    assert message["Message-ID"] == f"<{LETTER.id}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("stage", "answer", "meaning"),
    [
        ("connect", "554 closed", Unavailable),
        ("EHLO", "421 away", Unavailable),
        ("MAIL", "550 we know no such sender", Unavailable),
        ("RCPT", "450 mailbox busy", Unavailable),
        ("RCPT", "550 no such mailbox", MailRefused),
        ("DATA", "451 not now", Unavailable),
        ("content", "452 disk full", Unavailable),
        ("content", "554 looks like spam", MailRefused),
    ],
)
async def test_only_what_is_said_of_the_letter_is_for_good(
    server: SmtpServer, stage: str, answer: str, meaning: type[Exception]
) -> None:
    server.answers[stage] = answer
    if stage == "EHLO":
        server.answers["HELO"] = answer
    with pytest.raises(meaning) as refused:
        await send(f"smtp://127.0.0.1:{server.port}?tls=none")
    assert LETTER.to not in str(refused.value)


async def test_a_server_that_does_not_listen_or_answer_is_asked_later() -> None:
    async with smtp_server() as server:
        port = server.port
        server.hangs_up = True
        with pytest.raises(Unavailable):
            await send(f"smtp://127.0.0.1:{port}?tls=none")
    with pytest.raises(Unavailable):
        await send(f"smtp://127.0.0.1:{port}?tls=none")


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of 127.0.0.1, signed by itself, and trusted by this process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


async def test_the_password_is_said_over_tls_alone(certificate: ssl.SSLContext) -> None:
    async with smtp_server(tls=certificate, login=("us/er", "pass@word")) as server:
        await send(f"smtp://us%2Fer:pass%40word@127.0.0.1:{server.port}")
        assert [(taken.over_tls, taken.user) for taken in server.taken] == [(True, "us/er")]
        with pytest.raises(Unavailable):
            await send(f"smtp://user:wrong@127.0.0.1:{server.port}")
    async with smtp_server(at_once=certificate, login=("user", "word")) as server:
        await send(f"smtps://user:word@127.0.0.1:{server.port}")
        assert [taken.user for taken in server.taken] == ["user"]


async def test_a_server_without_tls_or_with_an_unknown_certificate_is_told_nothing(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with smtp_server(login=("user", "word")) as server:
        with pytest.raises(Unavailable):
            await send(f"smtp://user:word@127.0.0.1:{server.port}")
        assert server.taken == []
    monkeypatch.delenv("SSL_CERT_FILE")
    async with smtp_server(tls=certificate, login=("user", "word")) as server:
        with pytest.raises(Unavailable):
            await send(f"smtp://user:word@127.0.0.1:{server.port}")
        assert server.taken == []


async def test_a_folder_has_a_private_file_for_each_mail(tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "mail"
    for _ in range(2):
        await send(folder.as_uri())
    (file,) = folder.iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    message = message_from_bytes(file.read_bytes(), policy=default)
    assert (message["To"], message["Subject"]) == (LETTER.to, LETTER.subject)


async def test_a_folder_that_cannot_be_written_to_is_tried_later(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        await send((tmp_path / "file" / "mail").as_uri())
