"""A server with a list of models, plain or with TLS."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Listing", "model_server"]


class Listing(NamedTuple):
    """The response to requests for ``path`` with the token ``token``; others get 401, other paths 404."""

    path: str = "/v1/models"
    token: str | None = None
    body: str = json.dumps({"data": [{"id": "glm-5.3"}, {"id": "glm-4.5-air"}]})
    headers: Mapping[str, str] = {}


@contextlib.contextmanager
def model_server(listing: Listing, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serves until the end of the block; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            if self.path != listing.path:
                self._respond(404, '{"error": "not found"}')
            elif listing.token not in (None, token):
                self._respond(401, json.dumps({"error": {"message": f"invalid token {token}"}}))
            else:
                self._respond(200, listing.body)

        def _respond(self, status: int, body: str) -> None:
            self.send_response_only(status)
            self.send_header("content-length", str(len(body.encode())))
            for name, value in listing.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Logs nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
