"""The copy table, through pynamodb."""
