"""The servers that ours is compared with: from Debian's packages, run as our own processes, one worker each."""


class AbsentError(Exception):
    """A peer is not installed. The text says what is left out for want of it."""
