"""What the domain needs of the world, a module for each aggregate. Times are passed in; nothing here reads a clock."""

from auth_service.domain.ports.accounts import Networks, Tenants, Users
from auth_service.domain.ports.audit import AuditFilter, AuditTrail, FactPublisher, HeadExport, HeadSigner, Outbox, TrailReader
from auth_service.domain.ports.credentials import AccessTokens, ApiKeys, Hasher, KeyUses, OneTimeTokens, Sessions, SigningKeys
from auth_service.domain.ports.database import AccountFilter, Database, KeyFilter, Listings, Lookups, RingTransaction, Transaction
from auth_service.domain.ports.mail import Mailer, MailQueue, Mails
from auth_service.domain.ports.sweeping import Sweeping
from auth_service.domain.ports.throttling import Throttle, Unlocking

__all__ = [
    "AccessTokens",
    "AccountFilter",
    "ApiKeys",
    "AuditFilter",
    "AuditTrail",
    "Database",
    "FactPublisher",
    "Hasher",
    "HeadExport",
    "HeadSigner",
    "KeyFilter",
    "KeyUses",
    "Listings",
    "Lookups",
    "MailQueue",
    "Mailer",
    "Mails",
    "Networks",
    "OneTimeTokens",
    "Outbox",
    "RingTransaction",
    "Sessions",
    "SigningKeys",
    "Sweeping",
    "Tenants",
    "Throttle",
    "TrailReader",
    "Transaction",
    "Unlocking",
    "Users",
]
