"""Errors in tests are known by their code: sentences may be mended freely."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from src.core.errors import Problem


@contextlib.contextmanager
def raises(code: str) -> Iterator[pytest.ExceptionInfo[Problem]]:
    """As pytest.raises, for a Problem of this code."""
    with pytest.raises(Problem) as caught:
        yield caught
    told: Any = caught.value
    assert told.code == code, f"expected the error {code}, got {told.code}: {told}"
