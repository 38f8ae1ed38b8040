"""What operators ask, answered by the control function: each request has a module, and ``control`` knows them all."""
