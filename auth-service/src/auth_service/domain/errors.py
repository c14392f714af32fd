"""auth-service's own leaves of the tree in `shared.errors`."""

from collections.abc import Sequence
from datetime import datetime

from shared.errors import Conflict, Forbidden, KalpiError, NotFound, RateLimited, Unauthenticated, Unavailable

__all__ = [
    "AlreadyMember",
    "AlreadyRegistered",
    "BadCredentials",
    "BadKey",
    "BeyondCaller",
    "HashingBusy",
    "InvitationRefused",
    "KeyHasEnded",
    "LastOwner",
    "MailRefused",
    "NoHeadYet",
    "NoSigningKey",
    "NoSuchInvitation",
    "NoSuchKey",
    "NoSuchMember",
    "NoSuchTenant",
    "NoSuchUser",
    "NobodyValid",
    "RefreshRefused",
    "ResetRefused",
    "RoleNeeded",
    "RotationUnderWay",
    "SessionNeeded",
    "TooManyAttempts",
    "TooManyInvitations",
    "TooManyKeys",
    "TooManyMembers",
    "TooManyRefreshes",
    "TooManyToAddress",
    "WrongPassword",
]


class AlreadyRegistered(Conflict):
    def __init__(self) -> None:
        super().__init__("already registered")


class TooManyKeys(Conflict):
    def __init__(self, most: int) -> None:
        super().__init__(f"a user has at most {most} keys; delete one first")


class BadKey(Unauthenticated):
    def __init__(self) -> None:
        super().__init__("this key has ended")


class KeyHasEnded(Conflict):
    def __init__(self, how: str) -> None:
        super().__init__(f"this key {how}; make a new one")


class BeyondCaller(Forbidden):
    """A key makes none that is worth more than itself."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a key made with another key is not {what} than that one")


class AlreadyMember(Conflict):
    def __init__(self) -> None:
        super().__init__("already a member of this tenant")


class LastOwner(Conflict):
    def __init__(self) -> None:
        super().__init__("a tenant has at least one owner who is not disabled; make somebody else an owner first")


class TooManyInvitations(Conflict):
    def __init__(self, most: int) -> None:
        super().__init__(f"a tenant invites at most {most} people in a week")


class TooManyMembers(Conflict):
    def __init__(self, most: int) -> None:
        super().__init__(f"a tenant has at most {most} members")


class BadCredentials(Unauthenticated):
    """The same words for an unknown user, a wrong password, a disabled account and a disabled tenant."""

    def __init__(self) -> None:
        super().__init__("wrong user name or password")


class RefreshRefused(Unauthenticated):
    """The same words whatever is wrong with the token."""

    def __init__(self) -> None:
        super().__init__("this refresh token is not valid; log in again")


class WrongPassword(Forbidden):
    """Not a 401: the caller's token is fine, and a client must not answer this by refreshing it."""

    def __init__(self) -> None:
        super().__init__("the current password is wrong")


class TooManyAttempts(RateLimited):
    """`policies`: login, of this name; ip, of this address."""

    def __init__(self, retry_after_s: int, policies: Sequence[str]) -> None:
        of = " and ".join({"login": "this name", "ip": "this address"}[policy] for policy in policies)
        super().__init__(f"too many attempts for {of}", retry_after_s, policies)


class TooManyRefreshes(RateLimited):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__("this session is refreshed too often", retry_after_s, ["session"])


class TooManyToAddress(RateLimited):
    def __init__(self, retry_after_s: int) -> None:
        super().__init__("this address was invited too often", retry_after_s, ["recipient"])


class ResetRefused(Unauthenticated):
    """The same words for a token that is unknown, used or expired."""

    def __init__(self) -> None:
        super().__init__("this token is not valid (any more); ask for another mail")


class SessionNeeded(Forbidden):
    def __init__(self) -> None:
        super().__init__("log in for this: an API key may not do it")


class MailRefused(KalpiError):
    """For good: asking again would not help."""


class HashingBusy(Unavailable):
    def __init__(self) -> None:
        super().__init__("too many passwords are being checked", retry_after_s=1)


class NoSigningKey(Unavailable):
    def __init__(self) -> None:
        super().__init__("no signing key is in force")


class RotationUnderWay(Conflict):
    def __init__(self, until: datetime) -> None:
        super().__init__(f"a new key is published already and signs from {until:%Y-%m-%d %H:%M:%S} UTC on")


class NoHeadYet(NotFound):
    def __init__(self) -> None:
        super().__init__("no head of the audit trail has been signed yet")


class NoSuchUser(NotFound):
    def __init__(self) -> None:
        super().__init__("no such user")


class RoleNeeded(Forbidden):
    """A member may not, as the role in the tenant is."""

    def __init__(self, needed: str) -> None:
        super().__init__(f"only {needed} of the tenant may do this")


class NoSuchTenant(NotFound):
    def __init__(self) -> None:
        super().__init__("no such tenant")


class NoSuchMember(NotFound):
    """The same for nobody and for somebody of another tenant."""

    def __init__(self) -> None:
        super().__init__("no such member")


class NoSuchInvitation(NotFound):
    def __init__(self) -> None:
        super().__init__("no such invitation (any more)")


class InvitationRefused(NotFound):
    """The same words for one that is unknown, used, withdrawn or expired, and for one to somebody else."""

    def __init__(self) -> None:
        super().__init__("this invitation is not valid (any more), or was sent to another address")


class NoSuchKey(NotFound):
    def __init__(self) -> None:
        super().__init__("no such key")


class NobodyValid(NotFound):
    """What `resolve` answers for unknown, revoked, expired and disabled alike."""

    def __init__(self) -> None:
        super().__init__("it names nobody valid")
