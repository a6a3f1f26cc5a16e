"""Prometheus: one page for all workers of a server, whichever of them is scraped.

Each worker keeps what its slot has counted, its dead predecessors included, in a file beside the scoreboard: once a second,
when a sibling asks for it, and on the way out. A scrape asks all living workers at once and adds up the files. Nothing that was
ever shown is only in the memory of a process, so no total falls when one is killed.
"""
