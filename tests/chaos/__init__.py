"""What nobody plans for: killed processes, floods, forgeries, any order, a database or a broker that goes away."""
