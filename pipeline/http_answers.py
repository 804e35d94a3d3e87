"""What asks over http and https, and what its answers and failures mean for a file that is fetched."""

from __future__ import annotations

import errno
import http.client
import socket
import urllib.request
from email.message import Message
from typing import IO

from pipeline.errors import NotFetched

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NOBODY = {
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
}
_MAX_WAIT_S = 60.0
OTHER_WAY = "Fetch it elsewhere, bring it here, and give: pipeline models import FILE"


class Passing(Exception):
    """May go by itself: worth another try, after `wait_s` if the server said when."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows, but never from https to where anybody on the way can change what comes."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for the new address."""
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise NotFetched(req.full_url, f"it leads to {newurl}, which is not https", OTHER_WAY)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """Return what speaks http and https; urllib's own would open ftp, file and data too."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),  # by the usual variables: https_proxy, no_proxy and so on
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        made.add_handler(handler)
    return made


def extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return where an answer begins in the file, and the length of the whole file if it says so."""
    if response.status != 206:
        return 0, response.length
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, whole = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdecimal():
        raise Passing("it gave a part and did not say which")
    return int(start), int(whole) if whole.isdecimal() else None


def validator(headers: Message) -> str | None:
    """Return what names this version of a file, None where nothing does to the byte."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def passing_status(code: int) -> bool:
    """Say whether a status is the server's trouble of the moment."""
    return code in _PASSING_STATUS


def retry_after(headers: Message) -> float | None:
    """Return the seconds a server asks to wait for, at most a minute."""
    asked = headers.get("Retry-After", "")
    return min(float(asked), _MAX_WAIT_S) if asked.isdecimal() else None


def nobody_there(error: BaseException) -> bool:
    """Say whether no connection came about at all: no network, no such host, nobody listening."""
    if isinstance(error, socket.gaierror | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in _NOBODY


def reason(error: BaseException) -> str:
    """Return in words why a connection failed."""
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
