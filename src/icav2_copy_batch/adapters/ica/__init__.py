"""Illumina Connected Analytics v2 (ICA), through libica. ``client`` is the way in."""
