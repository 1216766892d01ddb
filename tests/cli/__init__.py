"""The official Stripe CLI against the simulator."""
