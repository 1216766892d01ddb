"""How a tenant gets from a button to a connection that takes payments."""
