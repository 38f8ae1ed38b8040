"""The outside world, one module each: the table, ICA, and the other AWS services."""
