"""Certificates of the RS256 envelope: made when a prefix is delegated, kept while they are good, renewed with the prefix record."""

from registry.keys import ROOT, KeyDirectory, key_name
from resolver.core import envelope
from resolver.core.errors import SignatureError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, fold_prefix, parent_prefix
from resolver.core.record import INDEX_CERTIFICATE, INDEX_PUBKEY, TYPE_CERTIFICATE, Record, Value
from resolver.core.wire.keys import RsaPublicKey, key_to_jwk

_DELEGATES = "derivedPrefixes"


class Certificates:
    """Issues HS_CERT values with the RSA keys of the prefixes homed here. Times in seconds since 1970."""

    def __init__(self, keys: KeyDirectory, valid_seconds: int) -> None:
        self._keys = keys
        self._valid_seconds = valid_seconds

    def of_child(self, prefix: str, key: RsaPublicKey, current: Record | None, now: int, *, delegates: bool) -> Value:
        """The certificate of the folded `prefix`: that in its record while it says the same and is good for long, or a new one."""
        parent = parent_prefix(prefix)
        issuer = ROOT if parent == PREFIX_AUTHORITY else parent
        kept = self._good(current, issuer, key, now)
        if kept is not None and delegates == _delegates(kept):
            return kept
        return self._signed(
            issuer, envelope.certificate_input(prefix, key, now, now + self._valid_seconds, delegates=delegates), now
        )

    def of_root(self, key: RsaPublicKey, current: Record | None, now: int) -> Value:
        """The root's own certificate."""
        kept = self._good(current, ROOT, key, now)
        return kept or self._signed(ROOT, envelope.root_certificate_input(key, now, now + self._valid_seconds), now)

    def renewed(self, record: Record, now: int) -> tuple[Value, ...]:
        """The certificate in `record`, with a new term if its own is drawing to an end; empty if there is none."""
        certificate = _certificate(record)
        if certificate is None:
            return ()
        key = envelope.certified_key(envelope.claims_of(certificate.data), str(record.identifier))
        if record.identifier.canonical == ANCHOR:
            return (self.of_root(key, record, now),)
        prefix = fold_prefix(record.identifier.suffix)
        return (self.of_child(prefix, key, record, now, delegates=_delegates(certificate)),)

    def _signed(self, issuer: str, signed: bytes, now: int) -> Value:
        signature = self._keys.sign(key_name(issuer, INDEX_PUBKEY), signed)
        return envelope.certificate_value(envelope.token(signed, signature), now)

    def _good(self, current: Record | None, issuer: str, key: RsaPublicKey, now: int) -> Value | None:
        """The certificate in `current` if it is of `key`, made by the issuer's present key, and a third of its term is left."""
        certificate, issuing = _certificate(current) if current is not None else None, self._keys.public_rsa(issuer)
        if certificate is None or issuing is None:
            return None
        try:
            claims = envelope.verify(certificate.data, issuing, "certificate")
        except SignatureError:
            return None
        same = claims.get("publicKey") == key_to_jwk(key)
        return certificate if same and claims["exp"] - now > self._valid_seconds // 3 else None


def _certificate(record: Record) -> Value | None:
    return next((v for v in record.values if v.index == INDEX_CERTIFICATE and v.type == TYPE_CERTIFICATE), None)


def _delegates(certificate: Value) -> bool:
    return any(permission.get("perm") == _DELEGATES for permission in envelope.claims_of(certificate.data)["perms"])
