"""Stripe's events: verified, routed to their tenant, and handled exactly once."""
