<?php
// Without an argument it knows no signal; with one it finishes its piece of work and leaves.
$stopping = false;
if (isset($argv[1])) {
    pcntl_async_signals(true);
    pcntl_signal(SIGTERM, function () use (&$stopping) { $stopping = true; });
}
echo "ready\n";
while (!$stopping) {
    usleep(500000);
}
echo "saved\n";
