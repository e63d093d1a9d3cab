sleep 2
printf 'Content-Type: text/plain\r\nContent-Length: 5\r\n\r\ndone\n'
