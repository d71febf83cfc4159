import subprocess
import sys

import symae_keras.data


def test_import_loads_no_backend():
    code = (
        "import sys, symae_keras.data as d; d.simulate_exposures(2, 2);"
        "sys.exit(str({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.stderr.strip(), done.stdout) == ("set()", "")


def test_public_names_are_callable():
    for name in symae_keras.data.__all__:
        assert callable(getattr(symae_keras.data, name))
