"""What a request costs with otelfork and with its peers: `python -m benchmarks` (see README.md here).

Time is CPU time, in microseconds a request over the bare application, and compared as ratios of one round only: machines
differ and are shared. Nothing here is part of the installed package.
"""
