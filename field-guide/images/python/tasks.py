"""A Celery application whose broker is a folder, and whose one task takes a while."""

import os
import time

from celery import Celery

for folder in ("/tmp/queue", "/tmp/done"):
    os.makedirs(folder, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "/tmp/queue",
    "data_folder_out": "/tmp/queue",
    "processed_folder": "/tmp/done",
    "store_processed": True,
}


@app.task
def job(seconds):
    print("job started", flush=True)
    time.sleep(seconds)
    print("job done", flush=True)
