"""A call of the program or of the Python client → control. Who may invoke this function may operate."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, on_lambda


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, Any]:
    return container.control.answer(event)


handler = on_lambda(handle)
