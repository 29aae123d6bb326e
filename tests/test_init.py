"""The public names."""

import pytest

import bitlens


@pytest.mark.parametrize("name", bitlens.__all__)
def test_public_names_are_there(name: str):
    """Each is imported when it is used, has words about it, and shows in dir()."""
    assert getattr(bitlens, name).__doc__
    assert name in dir(bitlens)


def test_other_names_are_not():
    """As in any module."""
    with pytest.raises(AttributeError, match="audti"):
        bitlens.audti  # noqa: B018


def test_the_version_is_the_package_s():
    """Three numbers."""
    assert bitlens.__version__.count(".") == 2
