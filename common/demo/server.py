"""The page's server: the standard library's, on 127.0.0.1 alone, which answers nobody but its own page."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.demo.answers import Answers
from common.store import to_json
from config import UserError

ADDRESS = "127.0.0.1"
MOST_PIXELS = 1000
"""Along an axis of a drawing."""
MOST_BYTES = 2_000_000
"""Of a request: the largest drawing in base64, and a little more."""
_IDLE_S = 60.0
_HERE = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not answered, with the status to say so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves the page and what its models answer; has its port before they are opened.

    Raises
    ------
    UserError
        Where the port is not to be had.
    """

    daemon_threads = True
    answers: Answers

    def __init__(self, port: int) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UserError(f"--port: {port} cannot be had ({error.strerror}); leave it out for a free one") from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def serve(self, answers: Answers) -> None:
        """Answer until it is interrupted."""
        self.answers = answers
        self.serve_forever()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that went away in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: Server

    def do_GET(self) -> None:
        """Send a file of the page, or what it says of the models."""
        self._reply(self._get)

    def do_POST(self) -> None:
        """Answer a drawing."""
        self._reply(self._post)

    def _get(self) -> tuple[str, bytes]:
        if self.path == "/models":
            return _as_json(self.server.answers.about())
        if self.path not in _FILES:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page here")
        name, kind = _FILES[self.path]
        return kind, (_HERE / name).read_bytes()

    def _post(self) -> tuple[str, bytes]:
        body = self._body()
        if self.path != "/answers":
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page here")
        try:
            return _as_json(self.server.answers.to(drawing(body)))
        except UserError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _reply(self, answer: Any) -> None:
        try:
            self._check_origin()
            status, (kind, body) = HTTPStatus.OK, answer()
        except Refused as refusal:
            self.close_connection = True  # what it may still send is not read
            status, kind, body = refusal.status, "text/plain; charset=utf-8", f"{refusal}\n".encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _check_origin(self) -> None:
        """Refuse another page's requests: its name may have been made to mean this machine (DNS rebinding)."""
        own = [f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")]
        if self.headers.get_all("Host", []) not in [[name] for name in own]:
            raise Refused(HTTPStatus.FORBIDDEN, f"this is {own[0]}, and answers to no other name")
        if self.headers.get("Origin") not in (None, *(f"http://{name}" for name in own)):
            raise Refused(HTTPStatus.FORBIDDEN, "another page's requests are not answered")

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Type: send application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 12 or not 0 < int(length) <= MOST_BYTES:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Content-Length: send 1 to {MOST_BYTES} bytes, and say how many")
        return self.rfile.read(int(length))

    def version_string(self) -> str:
        """Name no versions."""
        return "samenet"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a line a stroke would tell nobody anything."""


def _as_json(value: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", to_json(value).encode()


def drawing(body: bytes) -> npt.NDArray[np.uint8]:
    """Return a request's drawing, (height, width) gray levels, 255 the ink.

    Parameters
    ----------
    body : JSON, ``{"width": pixels, "height": pixels, "pixels": base64 of a byte each, row by row}``.

    Raises
    ------
    UserError
        In one line, where it is anything else.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("drawing: is not JSON") from error
    if not isinstance(fields, dict) or fields.keys() != {"width", "height", "pixels"}:
        raise UserError("drawing: send an object with width, height and pixels")
    width, height = fields["width"], fields["height"]
    for name, value in (("width", width), ("height", height)):
        if type(value) is not int or not 1 <= value <= MOST_PIXELS:
            raise UserError(f"{name}: send a whole number of 1 to {MOST_PIXELS}")
    try:
        pixels = base64.b64decode(fields["pixels"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UserError("pixels: send a byte a pixel, in base64") from error
    if len(pixels) != width * height:
        raise UserError(f"pixels: {len(pixels)} bytes; {width} x {height} pixels are {width * height}")
    return np.frombuffer(pixels, np.uint8).reshape(height, width)
