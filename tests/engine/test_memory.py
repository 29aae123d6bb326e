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
        torch.ones(1024, 3072)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

bound_heap()
faults()
print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(heap._libc() is None, reason="the C library is not glibc")
def test_what_every_block_makes_anew_reuses_its_pages() -> None:
    """12 MB, the neurons of a batch in GPT-2, or its attention patterns, are 3,072 pages: none of
    them is asked of the system each time."""
    child = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert float(child.stdout) < 20
