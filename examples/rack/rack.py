# SPDX-License-Identifier: MPL-2.0
"""A service for the machines of a rack. Its records are the lines of rack.csv.

    python3 rack.py 8080
"""
import csv
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def find(mac):
    with open("rack.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row.pop("mac").lower() == mac:
                # An empty cell says nothing.
                row = {name: value for name, value in row.items() if value}
                who = {name: row.pop(name) for name in ("ip-address", "hostname") if name in row}
                return {**who, "options": row}
    return None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        # Kea writes a MAC address with colons and in lower case.
        answer = find(parse_qs(urlsplit(self.path).query).get("mac", [""])[0])
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        # Kea asks again at each boot and renewal, so that a changed line counts at once.
        self.send_header("Cache-Control", "max-age=0")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
