#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints the statistics of the remote-opts hook library in the text format of Prometheus.

    remote_opts_prometheus.py [SOCKET]

SOCKET is Kea's control socket, /run/kea/kea4-ctrl-socket by default. Kea's statistic
remote-opts-failed becomes kea_remote_opts_failed, and remote-opts-url[0].requests becomes
kea_remote_opts_url_requests{url="0"}. The program ends with an error when Kea does not answer, and
when the library is not loaded.
"""

import json
import re
import socket
import sys

SOCKET = "/run/kea/kea4-ctrl-socket"


def statistics(path):
    """All statistics of the Kea with this control socket, as Kea gives them."""
    with socket.socket(socket.AF_UNIX) as kea:
        kea.settimeout(10)
        kea.connect(path)
        kea.sendall(b'{ "command": "statistic-get-all" }')
        response = b"".join(iter(lambda: kea.recv(65536), b""))
    return json.loads(response)["arguments"]


def line(name, value):
    """One statistic of the library as one line of Prometheus."""
    service = re.search(r"\[(\d+)\]", name)
    label = f'{{url="{service[1]}"}}' if service else ""
    metric = re.sub(r"[^a-z0-9]+", "_", re.sub(r"\[\d+\]", "", name))
    return f"kea_{metric}{label} {value}"


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else SOCKET
    lines = []
    for name, samples in statistics(path).items():
        # The first sample is the present value. Text has no place in Prometheus.
        value = samples[0][0]
        if name.startswith("remote-opts-") and isinstance(value, (int, float)):
            lines.append(line(name, value))
    if not lines:
        sys.exit("Kea has no statistic of the remote-opts hook library: it is not loaded")
    print("\n".join(sorted(lines)))


main()
