"""Breakage, and what each kind becomes at each door.

An expected outcome (found, not found, refer, refuse) is a value, see `message`. An exception means that something broke:
the peer broke a rule, a signature does not hold, a server cannot be reached. Every kind has exactly one mapping to a DNS
extended error (RFC 8914, 4), which goes with SERVFAIL, a Handle response code (RFC 3652, 2.2.3) and an HTTP status; the doors
read it here. Only a query that cannot be read is FORMERR, as the DNS door says by itself.
"""


class WaymarkError(Exception):
    """Root of all our exceptions. The text names the place and the rule, and where it helps the next step."""

    dns_error = 0  # other
    handle_code = 2  # error
    http_status = 500


class FormatError(WaymarkError):
    """The peer broke a rule of a format. Decoders raise this and nothing else."""

    handle_code = 4  # protocol error
    http_status = 400


class IdentifierError(FormatError):
    """An identifier breaks a rule of its syntax. `suggestion` is the spelling probably meant, or None."""

    handle_code = 102  # invalid handle

    def __init__(self, text: str, suggestion: str | None = None) -> None:
        super().__init__(f"{text}; did you mean {suggestion!r}?" if suggestion else text)
        self.suggestion = suggestion


class LimitError(FormatError):
    """A bound of `limits` was passed."""

    http_status = 413


class SignatureError(WaymarkError):
    """A signature, or the set of values it covers, does not hold. `reason` is a word of `trust.Reason`."""

    dns_error = 6  # bogus
    http_status = 502

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ReferralError(WaymarkError):
    """A server referred sideways, upward, too deep or in a circle."""

    http_status = 502


class UnreachableError(WaymarkError):
    """No server of a delegation answered in time."""

    dns_error = 22  # no reachable authority
    http_status = 504


class OverloadError(WaymarkError):
    """A queue is full; the same request may succeed later."""

    handle_code = 3  # server too busy
    http_status = 503


class StoreError(WaymarkError):
    """The truth or the answer table could not be read or written."""

    dns_error = 14  # not ready
    handle_code = 7  # server temporarily unable
    http_status = 503


class ConflictError(WaymarkError):
    """The state that a change was planned on is no longer the state."""

    handle_code = 101  # handle already exists
    http_status = 409


class CorruptError(StoreError):
    """Stored octets are not what was written."""

    http_status = 500


class ConfigError(WaymarkError):
    """A configuration file, key or argument is wrong. The text names the file and the setting."""
