"""The report of a settled copy: a table of its files (``table``), and a page for people (``page``).

Both are made of pieces of text, one job at a time, so that a copy may be of any size.
"""
