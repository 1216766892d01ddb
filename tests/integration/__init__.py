"""Modules together: threads, processes and the simulator."""
