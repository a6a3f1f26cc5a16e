"""A celery application over a broker of files in CELERY_FOLDER, whose task makes one request."""

import os
from pathlib import Path

from calling import send
from celery import Celery

folder = Path(os.environ["CELERY_FOLDER"])
for name in ("queue", "control", "processed"):
    (folder / name).mkdir(parents=True, exist_ok=True)

celery = Celery("tasks", broker="filesystem://")
celery.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "processed_folder": str(folder / "processed"),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.05,
    },
    worker_prefetch_multiplier=8,
    worker_hijack_root_logger=False,
)


@celery.task(ignore_result=True)
def work():
    """Make one request in the worker that runs this task."""
    send(1)
