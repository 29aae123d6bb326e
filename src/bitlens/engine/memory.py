"""How freed memory is held on to: by the C library, where it is glibc, and no more than it must."""

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""As glibc's malloc.h numbers them."""
_LARGE = 16 << 20
"""Bytes from which memory is a mapping of its own: a chunk of logits of a large vocabulary, which
is of 24 MB. Smaller tensors, such as attention patterns of a short context and the neurons of a
batch, are made so often that new pages for each would take a third of a forward's time."""
_HELD = 256 << 20
"""Bytes free at the end of the heap from which they go back without being asked to
(`return_memory`)."""


def bound_heap() -> None:
    """What is freed can be used again, or goes back to the system.

    One heap for all threads: of several, glibc never reuses in one what is free in another. And
    large tensors outside it: glibc moves its threshold up to 32 MB as they are freed, and in a heap
    the place of an aligned tensor is just too small for the next of its size, so that temporary
    logits would take one new place after another. What the heap has it keeps between tensors, to
    `return_memory`.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_ARENA_MAX, 1)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _HELD)


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
