"""How the tests read a refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icav2_copy_batch.domain.problems import Refused


def refusal(call: Callable[[], object]) -> list[tuple[str, str]]:
    """What the call refuses, and why."""
    with pytest.raises(Refused) as refused:
        call()
    assert refused.value.total == len(refused.value.problems)
    return [(problem.about, problem.problem) for problem in refused.value.problems]
