# SPDX-License-Identifier: MPL-2.0
"""A service with Python's standard library alone. Its records are the lines of ports.csv.

    python3 http_server.py 8080
"""
import csv
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def find(circuit_id):
    with open("ports.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row.pop("circuit-id") == circuit_id:
                # An empty cell sets no option.
                return {code: value for code, value in row.items() if value}
    return None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        # A port whose circuit-id is no text must not end in an error: it is an unknown port.
        circuit_id = bytes.fromhex(query.get("sub82_1", [""])[0]).decode(errors="replace")
        options = find(circuit_id)
        self.send_response(404 if options is None else 200)
        self.send_header("Content-Type", "application/json")
        # Kea asks again at each boot, so that a changed line counts at once.
        self.send_header("Cache-Control", "max-age=0")
        self.end_headers()
        self.wfile.write(json.dumps(options).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
