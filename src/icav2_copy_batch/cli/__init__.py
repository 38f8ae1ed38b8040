"""The program ``icav2-copy``, written on the Python client. Only the extra ``cli`` brings what it needs."""
