"""Private keys. Nothing outside this module touches one.

A directory (mode 0700) of PKCS#8 PEM files (0600), one for each key, named for the prefix and the index at which its public part
stands in the prefix record:

    88.118@302.pem   Ed25519, signs records
    88.118@303.pem   the next one, while the key rolls
    88.118@300.pem   RSA-2048, signs the envelope that deployed verifiers read; only where that is on

The root's are named `0.0`: the anchor's key signs everything at the root. Of two Ed25519 keys the newer file signs.

Run as a program (`python -m registry.keys DIR`) this module signs what comes on its standard input; see `signing`.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from registry import proof
from registry.signing import read_requests, write_signatures
from resolver.core.errors import ConfigError, WaymarkError
from resolver.core.identifier import ANCHOR, PREFIX_AUTHORITY, check_prefix, fold_prefix
from resolver.core.record import INDEX_KEY, INDEX_NEXT_KEY, INDEX_PUBKEY
from resolver.core.wire.keys import RsaPublicKey

RSA_BITS = 2048
ROOT = "0.0"
_SIGNING = (INDEX_KEY, INDEX_NEXT_KEY)


class KeyDirectory:
    """The private keys in one directory. A `holder` is a prefix; `0.0`, `0.NA` and `0.0/0.0` all mean the root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: dict[str, Ed25519PrivateKey | RSAPrivateKey] = {}

    def generate(self, holder: str, *, rsa: bool = False) -> int:
        """Makes a new Ed25519 key and returns its index; with `rsa` also an RSA key, where there is none yet.

        A second one becomes the next key of a prefix. Raises ConfigError when there are two already.
        """
        name = holder_name(holder)
        free = [index for index in _SIGNING if not self._file(name, index).exists()]
        if not free:
            raise ConfigError(
                f"{self.path}: {name} has two keys, {INDEX_KEY} and {INDEX_NEXT_KEY}; remove the older file once nothing that "
                "it signed is left"
            )
        self._write(f"{name}@{free[0]}", Ed25519PrivateKey.generate())
        if rsa and not self._file(name, INDEX_PUBKEY).exists():
            self._write(f"{name}@{INDEX_PUBKEY}", generate_private_key(65537, RSA_BITS))
        return free[0]

    def generate_rsa(self, holder: str) -> None:
        """Makes the RSA key of a holder that has none."""
        self._write(f"{holder_name(holder)}@{INDEX_PUBKEY}", generate_private_key(65537, RSA_BITS))

    def public(self, holder: str) -> dict[int, bytes]:
        """The public Ed25519 keys (32 octets) of a holder by index, the one that signs first; empty if it has none."""
        name = holder_name(holder)
        found = [index for index in _SIGNING if self._file(name, index).exists()]
        found.sort(key=lambda index: (self._file(name, index).stat().st_mtime_ns, index), reverse=True)
        return {index: self._ed25519(f"{name}@{index}").public_key().public_bytes_raw() for index in found}

    def public_rsa(self, holder: str) -> RsaPublicKey | None:
        """The public RSA key of a holder, or None if it has none."""
        name = holder_name(holder)
        if not self._file(name, INDEX_PUBKEY).exists():
            return None
        key = self._load(f"{name}@{INDEX_PUBKEY}")
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError(f"{self._file(name, INDEX_PUBKEY)} holds no RSA key")
        numbers = key.public_key().public_numbers()
        return RsaPublicKey(numbers.n, numbers.e)

    def sign(self, key: str, octets: bytes) -> bytes:
        """Signs with the key named `key` (as `88.118@302`): Ed25519, or RS256 where it is an RSA key."""
        private = self._load(key)
        if isinstance(private, Ed25519PrivateKey):
            return private.sign(octets)
        return private.sign(octets, PKCS1v15(), SHA256())

    def make_proof(self, prefix: str, parent: str, issued: int | None = None) -> str:
        """The proof for the registry of `parent` that whoever has this directory holds the newest key of `prefix`; see `proof`.

        `issued`: seconds since 1970, now unless given. Raises ConfigError if there is no key.
        """
        keys = self.public(prefix)
        if not keys:
            raise ConfigError(f"{self.path} holds no key of {prefix}; `waymark keygen` makes one")
        index, public = next(iter(keys.items()))
        claim = proof.Proof(fold_prefix(prefix), index, public, self.public_rsa(prefix))
        signed = proof.signing_input(claim, parent, int(time.time()) if issued is None else issued)
        return proof.assembled(signed, self.sign(key_name(prefix, index), signed))

    # ---- files

    def _file(self, name: str, index: int) -> Path:
        return self.path / f"{name}@{index}.pem"

    def _ed25519(self, key: str) -> Ed25519PrivateKey:
        private = self._load(key)
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{self.path / key}.pem holds no Ed25519 key")
        return private

    def _load(self, key: str) -> Ed25519PrivateKey | RSAPrivateKey:
        if key not in self._loaded:
            self._loaded[key] = _read(self.path / f"{key}.pem")
        return self._loaded[key]

    def _write(self, key: str, private: Ed25519PrivateKey | RSAPrivateKey) -> None:
        path = self.path / f"{key}.pem"
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise ConfigError(f"{path} exists already; a key is never written over") from None
        except OSError as error:
            raise ConfigError(f"key {path} could not be written: {error.strerror}") from None


def key_name(prefix: str, index: int) -> str:
    """The name of the key of `prefix` at `index`, as `KeyDirectory.sign` takes it."""
    return f"{holder_name(prefix)}@{index}"


def holder_name(holder: str) -> str:
    """How the files of a holder begin. Raises IdentifierError if it is no prefix."""
    if holder == ANCHOR or fold_prefix(holder) == PREFIX_AUTHORITY:
        return ROOT
    check_prefix(holder)
    return fold_prefix(holder)


def _read(path: Path) -> Ed25519PrivateKey | RSAPrivateKey:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"key {path} can be read by others than its owner; run: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"key {path} is not an unencrypted PKCS#8 PEM file: {error}") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < RSA_BITS:
        raise ConfigError(f"key {path} has {key.key_size} bits; an RSA key needs {RSA_BITS}")
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise ConfigError(f"key {path} is neither Ed25519 nor RSA")
    return key


# ---- as a program


def _serve(directory: KeyDirectory) -> None:
    """Signs what comes on standard input until it ends, which it does when the registry ends, in whatever way."""
    while (requests := read_requests(sys.stdin.buffer)) is not None:
        write_signatures(sys.stdout.buffer, list(_signatures(directory, requests)))


def _signatures(directory: KeyDirectory, requests: list[tuple[str, bytes]]) -> Iterator[bytes]:
    for key, octets in requests:
        yield directory.sign(key, octets)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the registry, which then closes our standard input
    try:
        _serve(KeyDirectory(Path(sys.argv[1])))
    except WaymarkError as error:
        sys.exit(f"signing: {error}")
    except BrokenPipeError:
        os._exit(0)  # the registry is gone without a word, and nobody is left to read what is still to be flushed
