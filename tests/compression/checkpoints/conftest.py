"""Small references of several families."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource


@pytest.fixture(scope="session")
def reference(tiny_folder: Callable[..., Path]) -> Callable[[str], Loaded]:
    """A tiny random model of a family, loaded from its folder."""

    @cache
    def make(family: str) -> Loaded:
        return load(ModelSource(str(tiny_folder(family))), 1 << 34)

    return make


@pytest.fixture(scope="session")
def folder_of(tiny_folder: Callable[..., Path]) -> Callable[[str], Path]:
    """The folder of the same model."""
    return cache(lambda family: tiny_folder(family))
