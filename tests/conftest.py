"""For all tests: a proxy that the machine goes out through does not stand between a test and its own servers."""

import os

os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
