"""The rules of a copy. Standard library only: nothing here talks to AWS or to ICA."""
