"""Accounts: a text file of names, roles and hashed secrets, like htpasswd.

One account a line: `name:role:kind$…`. A password is kept as scrypt (RFC 7914), a token of a
program, which is random, as SHA-256. The file is read again when it changes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

import structlog

from dashboards.access import Role, Who
from mrv.errors import InputError

log = structlog.get_logger("pages")

LOG_N, BLOCK, LANES = 15, 8, 1
"""scrypt: N = 2^15, r = 8, p = 1: 32 MB and about 0.1 s a try."""
MEMORY = 64 * 1024 * 1024
"""Bytes scrypt may use."""
LEAST = 10
"""Letters of the shortest password that is taken."""
MOST = 256
"""Letters of the longest one that is hashed."""
NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@")
"""Letters of a name."""
TOKEN = "mp_"  # noqa: S105 (a prefix that shows what a string is, not a secret)
"""Start of every token, so that scanners for secrets can find one."""


@dataclass(frozen=True, slots=True)
class Account:
    """One line of the file."""

    name: str
    """Name."""
    role: Role
    """What it may do."""
    kind: str
    """scrypt (a person with a password) | sha256 (a program with a token)."""
    secret: str
    """Its hash, with parameters and salt."""

    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.name}:{self.role.value}:{self.kind}${self.secret}"


def _scrypt(password: str, salt: bytes, log_n: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=2**log_n, r=block, p=lanes, maxmem=MEMORY, dklen=32
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _named(name: str) -> str:
    if not 0 < len(name) <= 64 or not NAME.issuperset(name):
        raise InputError(
            f"a name of letters, digits, . _ - @ is expected, seen {name!r:.80}", field="name"
        )
    return name


def with_password(name: str, role: Role, password: str) -> Account:
    """An account of a person. Raises InputError on a name or password that cannot be taken."""
    if not LEAST <= len(password) <= MOST:
        raise InputError(
            f"a password of {LEAST} to {MOST} letters is expected, seen {len(password)}",
            field="password",
        )
    salt = os.urandom(16)
    digest = _scrypt(password, salt, LOG_N, BLOCK, LANES)
    secret = f"{LOG_N}${BLOCK}${LANES}${_text(salt)}${_text(digest)}"
    return Account(_named(name), role, "scrypt", secret)


def with_token(name: str, role: Role) -> tuple[Account, str]:
    """An account of a program, and its token, which is shown once and kept nowhere."""
    token = TOKEN + secrets.token_urlsafe(32)
    return Account(_named(name), role, "sha256", hashlib.sha256(token.encode()).hexdigest()), token


def _read(line: str, file: str, number: int) -> Account:
    name, _, rest = line.partition(":")
    role, _, secret = rest.partition(":")
    kind, _, secret = secret.partition("$")
    try:
        known = Role(role)
        _named(name)
        if kind not in ("scrypt", "sha256") or not secret:
            raise ValueError(kind)
    except (ValueError, InputError) as error:
        raise InputError(
            f"name:role:hash is expected ({error})",
            file=file,
            line=number,
            hint="`meterprint user set` writes such lines; roles: " + ", ".join(Role),
        ) from error
    return Account(name, known, kind, secret)


def read_accounts(path: Path) -> dict[str, Account]:
    """Accounts of a file by name; an absent file has none. Raises InputError with its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from error
    found: dict[str, Account] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            account = _read(line.strip(), str(path), number)
            if account.name in found:
                raise InputError(f"{account.name} is there twice", file=str(path), line=number)
            found[account.name] = account
    return found


def write_accounts(path: Path, accounts: dict[str, Account]) -> None:
    """Write the file anew, readable by its owner only, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for name in sorted(accounts):
            file.write(accounts[name].line() + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _matches(account: Account, password: str) -> bool:
    try:
        log_n, block, lanes, salt, digest = account.secret.split("$")
        seen = _scrypt(password, base64.b64decode(salt), int(log_n), int(block), int(lanes))
        return hmac.compare_digest(seen, base64.b64decode(digest))
    except (ValueError, MemoryError):
        return False


class Accounts:
    """The accounts of a file, read again when it changes. Methods may be called from any thread.

    A file that is broken when it is first read raises InputError; one that breaks later is refused
    in the log and the accounts known before go on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Account] = {}
        self._nobody = with_password("nobody", Role.PUBLIC, secrets.token_hex(16))
        self._refresh()

    def _refresh(self) -> dict[str, Account]:
        with self._lock:
            try:
                seen = self._path.stat()
                stamp = seen.st_mtime_ns, seen.st_ino
            except FileNotFoundError:
                stamp = None
            if stamp != self._stamp:
                try:
                    self._known = read_accounts(self._path)
                except InputError as error:
                    if self._stamp is None:
                        raise
                    log.warning("accounts_refused", error=str(error), hint=error.hint)
                self._stamp = stamp
            return self._known

    def by_password(self, name: str, password: str) -> Who | None:
        """Who has this name and password; it takes as long for a name nobody has."""
        account = self._refresh().get(name)
        asked = account if account is not None and account.kind == "scrypt" else self._nobody
        if not _matches(asked, password[:MOST]) or account is None or asked is not account:
            return None
        return Who(account.name, account.role)

    def by_token(self, token: str) -> Who | None:
        """Who has this token."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        for account in self._refresh().values():
            if account.kind == "sha256" and hmac.compare_digest(account.secret, digest):
                return Who(account.name, account.role)
        return None

    def role_of(self, name: str) -> Role | None:
        """Role of an account now; None where it is gone."""
        account = self._refresh().get(name)
        return None if account is None else account.role
