"""Doors: the protocols through which the same records are reached. A door turns octets into questions and outcomes into octets."""

from collections.abc import Coroutine
from typing import Any

# What a door makes of a request: nothing (drop it), one reply, a reply in several datagrams, or a coroutine that waits for others.
Ready = bytes | tuple[bytes, ...] | None
Reply = Ready | Coroutine[Any, Any, Ready]
