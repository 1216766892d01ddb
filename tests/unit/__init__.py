"""Each module by itself, against what the contract says of it."""
