"""What Nova asks of Neutron, out of a file. `neutron_stand_in.py PORT FILE`."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT, TABLES = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())


class Neutron(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        name = url.path.removeprefix("/v2.0/").replace("-", "_")
        wanted = parse_qs(url.query)
        rows = [
            row
            for row in TABLES.get(name, [])
            if all(row.get(key) in wanted[key] for key in wanted if key in row)
        ]
        body = json.dumps({name: rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Neutron).serve_forever()
