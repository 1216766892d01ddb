"""The webhook: from the raw bytes of a delivery to what has changed in the database."""
