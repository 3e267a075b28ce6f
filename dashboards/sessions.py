"""Who is logged in, and how often somebody guessed. In memory: a restart logs everybody out."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

COOKIE = "session"
"""Name of the cookie."""
HOLDS_S = 12 * 3600
"""A session ends after a shift and its handover, s."""
SESSIONS = 10_000
"""Most sessions; the oldest one goes."""
GUESSES = 10
"""Failed logins of one name from one address before it has to wait."""
WAIT_S = 300
"""How long it waits, s."""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Sessions:
    """Sessions by the hash of their token."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def begin(self, name: str) -> str:
        """A new session's token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._known[_digest(token)] = name, self._now() + HOLDS_S
            while len(self._known) > SESSIONS:
                self._known.popitem(last=False)
        return token

    def name_of(self, token: str) -> str | None:
        """Whose session it is; None where it has ended."""
        with self._lock:
            found = self._known.get(_digest(token))
            if found is None or found[1] < self._now():
                return None
            return found[0]

    def end(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._known.pop(_digest(token), None)

    def must_wait(self, who: str) -> bool:
        """Whether `who` (name and address) has guessed too often."""
        with self._lock:
            count, since = self._failed.get(who, (0, 0.0))
            if count and self._now() - since > WAIT_S:
                del self._failed[who]
                return False
            return count >= GUESSES

    def failed(self, who: str) -> None:
        """Count a failed login."""
        with self._lock:
            count, _ = self._failed.pop(who, (0, 0.0))
            self._failed[who] = count + 1, self._now()
            while len(self._failed) > SESSIONS:
                self._failed.popitem(last=False)
