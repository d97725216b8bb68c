"""The service: the one place where a record is made. Every write, from whichever door, goes through it.

It holds together the truth (`database`), the private keys (`keys`), the task that commits (`committer`) and the process that
publishes (`publisher`). What may be written is decided in `registration` and `assignment`.
"""

import asyncio
import hmac
import logging
import secrets
import time
from builtins import list as List  # noqa: N812  # `Service.list` hides it below
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import NamedTuple

from registry import proof
from registry.assignment import Holding, record_values, refused, rolled
from registry.batch import Once, Order
from registry.certificates import Certificates
from registry.committer import Committer
from registry.config import RegistryConfig
from registry.database import LAST_KEY, TokenRow, Truth, open_truth
from registry.keys import KeyDirectory
from registry.publisher import Publisher
from registry.registration import Actor, Rejected, Write, Written, covers
from registry.signing import Signing
from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError, StoreError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, ROOT, Identifier, fold_prefix, parent_prefix, prefix_record
from resolver.core.record import INDEX_SITE, TYPE_SITE, Record, Value
from resolver.core.wire.site import Site, encode_site
from resolver.core.wire.stored import decode_stored
from resolver.table import Homed, Table
