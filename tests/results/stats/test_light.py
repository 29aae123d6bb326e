"""Statistics are numpy and scipy."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_statistics_and_store_do_without_torch():
    """Reports are made from results without waiting for torch."""
    code = (
        "import sys, bitlens.results.stats.contrasts, bitlens.results.stats.multiple;"
        "import bitlens.results.stats.replicates, bitlens.results.estimates;"
        "import bitlens.results.export;"
        "sys.exit(' '.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
