"""`make bench`: how fast, with how many calls and for how much money; its results are written to docs/."""
