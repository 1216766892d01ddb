"""What was missed is found again: events, outcomes, payments, endpoints."""
