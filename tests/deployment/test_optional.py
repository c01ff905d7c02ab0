import os
import subprocess
import sys

import pytest

from wavenet_zoo.deployment.optional import quiet_native_code

WITHOUT_STDERR = """
import os
from wavenet_zoo.deployment.optional import quiet_native_code
for descriptor in (0, 2):  # a file that is opened next gets 0
    os.close(descriptor)
with quiet_native_code():
    pass
try:
    os.fstat(2)
except OSError:
    print("closed")
"""


def test_output_of_native_code_is_hidden_and_its_error_is_raised(capfd):
    with pytest.raises(ValueError, match="damaged"), quiet_native_code():
        os.write(2, b"reason in C++\n")
        raise ValueError("damaged")
    os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"


def test_closed_stderr_stays_closed():
    finished = subprocess.run([sys.executable, "-c", WITHOUT_STDERR], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, "closed\n"), finished.stderr
