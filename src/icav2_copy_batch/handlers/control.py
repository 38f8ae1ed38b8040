"""A call of the program or of the Python client → control. Whoever may invoke it may control all copies."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, on_lambda
from icav2_copy_batch.operators.long_answers import short_enough


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, Any]:
    return short_enough(container.control.answer(event), container.bucket)


handler = on_lambda(handle)
