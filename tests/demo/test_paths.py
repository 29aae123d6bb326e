"""Finding the demo costs nothing."""

import os
import subprocess
import sys


def test_importing_the_package_loads_no_torch() -> None:
    """The command line asks where the model is long before it needs it."""
    code = "import sys, bitlens.demo as d; d.model_path(); sys.exit('torch' in sys.modules)"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0


def test_everything_is_where_it_says() -> None:
    """The three paths exist in what is installed."""
    from bitlens.demo import calibration_path, evaluation_path, model_path

    assert (model_path() / "config.json").is_file()
    assert calibration_path().is_file()
    assert evaluation_path().is_file()
