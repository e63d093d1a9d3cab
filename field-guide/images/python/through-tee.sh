#!/bin/bash
/guide/worker.py | tee -a /var/log/app.log
