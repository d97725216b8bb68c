"""What broke an exchange over HTTP, in a few words for a person: aiohttp's own are for programmers."""

import os

import aiohttp


def cause(error: BaseException) -> str:
    """For what aiohttp raises, TimeoutError and OSError."""
    if isinstance(error, aiohttp.ClientSSLError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what answers there does not speak HTTP"
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # its number is not the system's
        return error.strerror or "the host is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return "the connection was cut"
