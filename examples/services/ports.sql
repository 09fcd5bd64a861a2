-- SPDX-License-Identifier: MPL-2.0
-- The first records of flask_app.py.
CREATE TABLE port (circuit_id TEXT PRIMARY KEY, ipxe TEXT NOT NULL, tftp TEXT NOT NULL);
INSERT INTO port VALUES
    ('switch1:port7', 'http://boot.example.net/rescue.ipxe', '192.0.2.10'),
    ('switch1:port8', 'http://boot.example.net/debian-installer.ipxe', '192.0.2.10');
