"""What Lambda calls: parse the event, call the use case, answer."""

import gc

# Imports and manifests make many objects and hardly any cycles: the collector would look through them for nothing.
gc.set_threshold(100_000)
