"""How one process gets its telemetry: from settings to a plan, from a plan to the generation of this process."""
