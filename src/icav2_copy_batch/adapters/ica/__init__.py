"""ICA, through libica."""
