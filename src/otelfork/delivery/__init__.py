"""What waits to be sent and what becomes of it: queues, the exporter thread, retries, the spool, what was lost."""
