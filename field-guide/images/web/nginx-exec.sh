#!/bin/sh
exec nginx -c /guide/nginx.conf -g 'daemon off;'
