# SPDX-License-Identifier: MPL-2.0
"""A service with Flask. Its records are in ports.db, which the first start makes of ports.sql.

    flask --app flask_app run --port 8080
"""
import sqlite3
from contextlib import closing
from pathlib import Path

from flask import Flask, jsonify, request

app = Flask(__name__)

if not Path("ports.db").exists():
    with closing(sqlite3.connect("ports.db")) as db:
        db.executescript(Path("ports.sql").read_text())


@app.get("/api/dhcp")
def answer():
    # A port whose circuit-id is no text must not end in an error: it is an unknown port.
    circuit_id = bytes.fromhex(request.args.get("sub82_1", "")).decode(errors="replace")
    with closing(sqlite3.connect("ports.db")) as db:
        rows = db.execute("SELECT ipxe, tftp FROM port WHERE circuit_id = ?", [circuit_id])
        row = rows.fetchone()
    # For an unknown port, None becomes null: the service has nothing for this client.
    response = jsonify(row and {"options": {"224": row[0]}, "next-server": row[1]})
    # Kea asks again at each boot, so that a changed record counts at once.
    response.cache_control.max_age = 0
    return response
