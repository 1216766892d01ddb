"""Roads into and out of a connection, on both databases, through the simulator."""
