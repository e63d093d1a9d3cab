#!/bin/sh
nginx -c /guide/nginx.conf
tail -f /var/log/nginx/access.log
