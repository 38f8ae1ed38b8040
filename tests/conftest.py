"""What has to be so before any test is imported."""

from __future__ import annotations

import libica.openapi.v3  # noqa: F401 # all of it, for the tests of the simulator: after us it cannot be had any more
