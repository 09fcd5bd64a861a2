<?php
// SPDX-License-Identifier: MPL-2.0
// A service for PHP's built-in server. Its records are the lines of ports.csv.
//
//     php -S 127.0.0.1:8080 php_server.php

header('Content-Type: application/json');
// Kea asks again at each boot, so that a changed line counts at once.
header('Cache-Control: max-age=0');

$circuit_id = hex2bin($_GET['sub82_1'] ?? '');
$file = fopen(__DIR__ . '/ports.csv', 'r');
// The first line holds the names of the columns.
fgetcsv($file, escape: '');
while ($row = fgetcsv($file, escape: '')) {
    if ($row[0] === $circuit_id) {
        // An empty cell sets no option.
        echo json_encode(array_filter(['224' => $row[1], '66' => $row[2]]));
        break;
    }
}
// An unknown port gets an empty body: the service has nothing for this client.
