"""The whole way of a payment, as people walk it: the same story for every browser, database and SQLAlchemy."""
