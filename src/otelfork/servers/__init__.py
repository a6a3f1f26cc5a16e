"""Glue to servers: where their workers start and end, and what they load. Only here are their classes wrapped, and put back."""
