"""How freed memory is held on to: by the C library, where it is glibc, and no more than it must."""

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""As glibc's malloc.h numbers them."""
_LARGE = 12 << 20
"""Bytes from which memory is a mapping of its own: a chunk of logits of a large vocabulary, which
is of 24 MB, or through a lens of half as much at least. Smaller tensors, such as the attention
patterns of a short context, are made so often that new pages for each would take time."""


def bound_heap() -> None:
    """What is freed can be used again, or goes back to the system.

    One heap for all threads: of several, glibc never reuses in one what is free in another. And
    large tensors outside it: glibc moves its threshold up to 32 MB as they are freed, and in a heap
    the place of an aligned tensor is just too small for the next of its size, so that temporary
    logits would take one new place after another.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        # As glibc would have it, which no longer follows when the other is set.
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def return_memory() -> None:
    """Hand freed memory back to the system: glibc keeps pages between tensors of many sizes, and
    after a few blocks that is as much as the tensors themselves."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> Any:
    """The C library where it is glibc, else None."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
