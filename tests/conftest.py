"""For all tests.

Property tests try the same examples everywhere and take the time that the machine needs; `--hypothesis-profile=default` looks for
new ones. A proxy that the machine goes out through does not stand between a test and its own servers.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("same everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same everywhere")

os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
