"""Attempts: in which order the servers of a delegation are tried for one record, and when to give up.

UDP first, each server in turn; a server that stayed silent is tried again later in the other protocol, since a path may drop
either. What came over UDP and could not be read, or came in part, is fetched again over TCP at once. A server that did answer, but
to no use (it does not know the prefix, its signature does not hold, it refers elsewhere), is not tried again. Every server is tried
at least once; beyond that there are `limits.exchange_tries` tries in all. Before each new round there is a pause, which doubles.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from resolver.core.exchange import TCP, UDP, Endpoint
from resolver.core.referral import Contact

_PAUSE_SECONDS = 0.05


class Attempt(NamedTuple):
    """One try: where, and how many seconds to wait before it."""

    contact: Contact
    endpoint: Endpoint
    round: int
    pause: float


class Attempts:
    """`next` gives the try to make; `silent` or `unreadable` says that it failed in a way that a further try may mend."""

    def __init__(self, contacts: Sequence[Contact], tries: int) -> None:
        """`tries` 0: each server once, as when something to fall back on is at hand."""
        self.contacts = tuple(contacts)
        self._left = max(tries, len(contacts))
        self._round = 0
        self._queue = deque(Attempt(contact, _endpoint(contact, UDP), 0, 0.0) for contact in contacts)

    def next(self) -> Attempt | None:
        """The next try, or None: there is nobody left to ask, or it was tried often enough."""
        if self.exhausted:
            return None
        self._left -= 1
        attempt = self._queue.popleft()
        if attempt.round == self._round:
            return attempt._replace(pause=0.0)
        self._round = attempt.round
        return attempt

    @property
    def exhausted(self) -> bool:
        """Whether every try was made."""
        return not self._queue or not self._left

    def silent(self, attempt: Attempt) -> None:
        """No answer, or none that helps now: again in the next round, in the other protocol if there is one."""
        other = _endpoint(attempt.contact, TCP if attempt.endpoint.protocol == UDP else UDP)
        self._queue.append(Attempt(attempt.contact, other, attempt.round + 1, _PAUSE_SECONDS * 2**attempt.round))

    def unreadable(self, attempt: Attempt) -> None:
        """What came could not be read: over TCP at once, if that was UDP."""
        if attempt.endpoint.protocol == UDP and attempt.contact.tcp:
            self._queue.appendleft(Attempt(attempt.contact, _endpoint(attempt.contact, TCP), attempt.round, 0.0))
            self._left += 1


def _endpoint(contact: Contact, protocol: str) -> Endpoint:
    """The endpoint of `contact` for `protocol`, or for the other protocol if it has only that one."""
    if contact.tcp is None or (protocol == UDP and contact.udp is not None):
        return Endpoint(UDP, contact.address, contact.udp or 0)
    return Endpoint(TCP, contact.address, contact.tcp)
