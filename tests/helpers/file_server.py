"""A web server on the loopback that misbehaves as told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `content` at every path that ends in `name`; `requests` holds the Range header of each request.

    `more`: other files by name.
    """

    def __init__(self, content, name="w.ckpt"):
        self.content = content
        self.name = name
        self.more = {}
        self.requests = []
        self.cut_after = []  # bytes after which the next connections break
        self.statuses = []  # what the next requests are answered
        self.ranges = True
        self.content_type = "application/octet-stream"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/hrnet/{self.name}"

    def answer(self, request):
        self.requests.append(request.headers.get("Range"))
        content = self.content if request.path.endswith(self.name) else self.more.get(request.path.rpartition("/")[2])
        status = self.statuses.pop(0) if self.statuses else 0
        if status or content is None:
            request.send_response(status or 404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(request.headers["Range"][6:-1]) if "Range" in request.headers and self.ranges else 0
        if start and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        cut = self.cut_after.pop(0) if self.cut_after else None
        request.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            request.wfile.flush()
            request.close_connection = True

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
