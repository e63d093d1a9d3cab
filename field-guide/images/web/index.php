<?php
if (str_starts_with($_SERVER["REQUEST_URI"] ?? "", "/slow")) {
    $end = microtime(true) + 2;
    while (microtime(true) < $end) {
        usleep(20000);
    }
}
echo "ok\n";
