"""A simulator of Illumina Connected Analytics v2: its REST API, its rules, and its bad days."""
