"""Delegating: how prefixes come to be. The root sets itself up, a parent hands a prefix down, a child takes it.

A delegation is planned on the prefix record as it was read and committed only if it still is so; else it is planned again.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from registry import proof
from registry.assignment import Holding, key_values, record_values, refused, rolled
from registry.batch import Order
from registry.certificates import Certificates
from registry.committer import Committer
from registry.config import RegistryConfig
from registry.database.truth import Truth
from registry.keys import ROOT as ROOT_KEYS
from registry.keys import KeyDirectory
from registry.registration import Actor, Rejected, Write, Written
from resolver.core import limits
from resolver.core.errors import ConfigError, FormatError, StoreError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, ROOT, Identifier, fold_prefix, parent_prefix, prefix_record
from resolver.core.record import INDEX_SITE, TYPE_SITE, Record, Value
from resolver.core.wire.site import Site, encode_site
from resolver.core.wire.stored import decode_stored
from resolver.table import Homed

_TRIES = 8
_ROOT_SITE = "0.NA/0.0"  # where deployed clients look for a server of 0.0/0.0


class Delegation(NamedTuple):
    """A prefix to be handed down: hosted here (no `site`, no `proof`), or served by the child's own node (both).

    `proof` is the child's compact JWS that it holds the key (see `keys.make_proof`); `delegates` says whether the child will
    delegate further, which only the certificate of the RS256 envelope tells.
    """

    prefix: str
    site: Site | None = None
    proof: str | None = None
    delegates: bool = True


class Delegating:
    """What `Service` does about prefixes."""

    def __init__(
        self,
        config: RegistryConfig,
        truth: Truth,
        keys: KeyDirectory,
        certificates: Certificates,
        committer: Committer,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._truth = truth
        self._keys = keys
        self._certificates = certificates
        self._committer = committer
        self._clock = clock

    async def delegate(self, delegation: Delegation, actor: Actor) -> Written:
        """Writes the prefix record of a child. See `Service.delegate`."""
        identifier = prefix_record(delegation.prefix)
        prefix = fold_prefix(delegation.prefix)
        if (no := refused(prefix, actor, parent_prefix(prefix) in self._committer.zones)) is not None:
            return Written("rejected", None, no)
        for _ in range(_TRIES):
            found = (await self._truth.newest([identifier.key])).get(identifier.key)
            current = None if found is None else decode_stored(identifier.key, found.record)
            planned = await self._planned(delegation, prefix, current)
            if isinstance(planned, Rejected):
                return Written("rejected", None, planned)
            values, homes = planned
            write = Write("delegate", identifier, values, if_match=current.serial if current is not None else 0)
            (written,) = await self._committer.submit([Order(actor, write, homes=homes, trusted=True)])
            if written.problem is None or written.problem.code != "stale":
                return written
        raise StoreError(f"the delegation of {prefix} changed {_TRIES} times while it was planned; try again")

    async def home(self, prefix: str, actor: Actor) -> None:
        """Makes this registry responsible for `prefix`. See `Service.home`."""
        (homed,) = self._homed(fold_prefix(prefix))
        await self._committer.submit([Order(actor, None, homes=homed, trusted=True)])

    async def bootstrap(self, actor: Actor) -> None:
        """Sets up the root. See `Service.bootstrap`."""
        homes = self._homed("0.0", PREFIX_AUTHORITY)
        anchor, root = Identifier.parse(ANCHOR), Identifier.parse(ROOT)
        current = (await self._truth.newest([anchor.key])).get(anchor.key)
        rsa = self._keys.public_rsa(ROOT_KEYS) if self._enveloped(PREFIX_AUTHORITY) else None
        site = Value(INDEX_SITE, TYPE_SITE, encode_site(self._config.node))
        certificate = None
        if rsa is not None:
            record = None if current is None else decode_stored(anchor.key, current.record)
            certificate = self._certificates.of_root(rsa, record, int(self._clock()))
        holding = Holding(self._config.node, homes[0].keys, rsa, certificate)
        records = [(anchor, key_values(holding)), (root, (site,))]
        if rsa is not None:
            records.append((Identifier.parse(_ROOT_SITE), (site,)))
        orders = [Order(actor, None, homes=homed, trusted=True) for homed in homes]
        orders += [Order(actor, Write("delegate", name, values), trusted=True) for name, values in records]
        await self._committer.submit(orders)

    # ---- steps

    async def _planned(
        self, delegation: Delegation, prefix: str, current: Record | None
    ) -> tuple[tuple[Value, ...], Homed | None] | Rejected:
        """The values of the prefix record, and the prefix if it is to be hosted here."""
        hosted = delegation.site is None and delegation.proof is None
        parent, now = parent_prefix(prefix), int(self._clock())
        if hosted:
            if current is not None and prefix not in self._committer.zones:
                return Rejected(
                    "exists",
                    f"{prefix} is served by its own node, with its records; it cannot be hosted here as well",
                    409,
                    "prefix",
                )
            if not self._keys.public(prefix):
                await asyncio.to_thread(self._keys.generate, prefix)
            if self._enveloped(prefix) and self._keys.public_rsa(prefix) is None:
                await asyncio.to_thread(self._keys.generate_rsa, prefix)
            keys, site = self._keys.public(prefix), self._config.node
            rsa = self._keys.public_rsa(prefix) if self._enveloped(prefix) else None
        else:
            if delegation.site is None or delegation.proof is None:
                missing = "servers" if delegation.site is None else "proof"
                return Rejected(
                    "bad-proof", f"a prefix with its own node needs servers and proof; {missing} is missing", 422, missing
                )
            if prefix in self._committer.zones:
                return Rejected(
                    "exists", f"{prefix} is hosted here, with its records; it cannot be served elsewhere as well", 409, "prefix"
                )
            try:
                shown = proof.check(delegation.proof, prefix, parent, now, self._config.limits[limits.proof_seconds])
            except FormatError as error:
                return Rejected("bad-proof", str(error), 422, "proof")
            keys, site, rsa = {shown.index: shown.public}, delegation.site, shown.envelope
        if rsa is not None and not self._enveloped(parent):
            return Rejected(
                "invalid-value",
                f"{prefix} is to carry the RS256 envelope, but {parent} does not: it must be on along the whole path to the root",
                422,
                "proof",
            )
        certificate = None
        if rsa is not None:
            certificate = self._certificates.of_child(prefix, rsa, current, now, delegates=delegation.delegates)
        holding = Holding(site, rolled(current, keys), rsa, certificate)
        return record_values(prefix, holding), Homed(prefix, keys) if hosted else None

    def _homed(self, *prefixes: str) -> list[Homed]:
        keys = self._keys.public(prefixes[0])
        if not keys:
            raise ConfigError(f"{self._config.keys} holds no key of {prefixes[0]}; `waymark keygen` makes one")
        return [Homed(prefix, keys) for prefix in prefixes]

    def _enveloped(self, prefix: str) -> bool:
        """Whether the records of a prefix homed here carry the envelope."""
        return self._config.has_envelope(prefix)
