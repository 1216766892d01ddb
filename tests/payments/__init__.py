"""Payments made, cancelled and brought up to date, on both databases, through the simulator."""
