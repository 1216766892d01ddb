"""Holds what we send, and what the simulator answers, against Stripe's own OpenAPI description."""
