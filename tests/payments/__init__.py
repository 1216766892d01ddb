"""Payments made, cancelled and brought up to date, through the simulator; on both databases where these decide."""
