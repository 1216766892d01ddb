"""Roads into and out of a connection, through the simulator; on both databases where these decide."""
