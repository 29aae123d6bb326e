"""What the C library does with memory that is freed."""

import subprocess
import sys

import pytest

from bitlens.engine import memory as heap

SCRIPT = """
import resource, torch
from bitlens.engine.memory import bound_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4, 8, 256, 256)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

bound_heap()
faults()
print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(heap._libc() is None, reason="the C library is not glibc")
def test_attention_patterns_of_a_short_context_reuse_their_pages() -> None:
    """8 MB, the demo's, are 2,048 pages: none of them is asked of the system each time."""
    child = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert float(child.stdout) < 20
