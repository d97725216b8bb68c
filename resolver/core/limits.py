"""Every bound, in one table: name, default, least, most, and why. `waymark limits` prints it.

A bound is checked before the work that it bounds. Modules read the default as `limits.identifier_characters.default`; what an
operator may set is read from the `[limits]` table of a node's or registry's file through `Limits`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from resolver.core.errors import ConfigError


class Limit(NamedTuple):
    """One bound. `default` holds unless configured, and what is configured lies in `least..most`."""

    name: str
    default: int
    least: int
    most: int
    why: str
    configurable: bool = True


TABLE: dict[str, Limit] = {}


def _limit(name: str, default: int, least: int, most: int, why: str) -> Limit:
    return TABLE.setdefault(name, Limit(name, default, least, most, why))


def _law(name: str, value: int, why: str) -> Limit:
    """A bound that a protocol fixes: nobody may set it."""
    return TABLE.setdefault(name, Limit(name, value, value, value, why, configurable=False))


# ---- identifiers and records
identifier_characters = _law("identifier_characters", 255, "the deployed REST interfaces take no longer name")
identifier_octets = _law("identifier_octets", 2048, "the longest handle that deployed clients decode")
prefix_octets = _law("prefix_octets", 128, "leaves room in a DNS name of 255 octets for suffix, signature label and apex")
prefix_label_octets = _law("prefix_label_octets", 63, "a prefix label is a DNS label (RFC 1035, 2.3.4)")
prefix_labels = _law("prefix_labels", 16, "the deepest tree that a resolver follows")
apex_octets = _law("apex_octets", 50, "the DNS name under which the tree hangs; see prefix_octets")
record_values = _limit("record_values", 1024, 1, 2048, "values of one record; deployed decoders stop at 2048")
record_octets = _limit("record_octets", 200_000, 4096, 250_000, "encoded values of one record; an answer must fit a message")
public_key_octets = _law("public_key_octets", 16_384, "an encoded public key; an X.509 certificate with RSA-8192 has 3 KB")

# ---- messages
handle_message_octets = _law("handle_message_octets", 262_144, "the longest message that deployed peers accept")
handle_fragment_octets = _law("handle_fragment_octets", 512, "a Handle datagram: 20 octets of envelope and 492 of message")
handle_fragment_sets = _limit("handle_fragment_sets", 256, 1, 65_536, "requests in several datagrams that wait for the rest")
handle_fragment_seconds = _limit("handle_fragment_seconds", 5, 1, 60, "how long such a request waits")
handle_request_octets = _law("handle_request_octets", 65_536, "a request in several datagrams; longer ones come over TCP")
handle_datagrams = _limit("handle_datagrams", 128, 4, 533, "datagrams of one answer; what needs more is told to ask over TCP")
handle_recursion_count = _law("handle_recursion_count", 16, "servers that handed a request on; more means a circle")
handle_filter_items = _limit("handle_filter_items", 256, 1, 4096, "indexes, and types, that one resolution may name")
dns_udp_octets = _limit("dns_udp_octets", 1232, 512, 4096, "the longest DNS answer over UDP: no fragments on any path")
dns_query_octets = _limit("dns_query_octets", 1232, 512, 4096, "the longest DNS query that is read at all")
dns_answer_labels = _law(
    "dns_answer_labels", 16_384, "labels that are read in one DNS answer: pointers could repeat them without end"
)
dns_answer_pointers = _law("dns_answer_pointers", 32, "compression pointers followed in one name of a DNS answer")
dns_error_text_octets = _law("dns_error_text_octets", 160, "the sentence of an extended DNS error; answers stay small")
dns_zones_ready = _law("dns_zones_ready", 4096, "zones, and SOA tails, that a worker keeps ready for one table serial")
http_head_octets = _limit("http_head_octets", 16_384, 1024, 65_536, "request line and headers of a request to the node")
http_body_octets = _limit("http_body_octets", 1_048_576, 1024, 16_777_216, "body of one request to the registry, bulk apart")
json_depth = _law("json_depth", 16, "nesting of a JSON document")

# ---- connections
connections = _limit("connections", 4096, 16, 65_536, "open connections of one door of one worker")
connection_idle_seconds = _limit("connection_idle_seconds", 600, 1, 3600, "deployed pools keep a connection this long")
connection_first_seconds = _limit("connection_first_seconds", 10, 1, 600, "a connection must have sent a whole request by then")
connection_out_octets = _limit("connection_out_octets", 1_048_576, 65_536, 67_108_864, "unread answers before a peer is cut")

# ---- cache and recursion
answer_cache_octets = _limit(
    "answer_cache_octets", 67_108_864, 0, 2**36, "memory of ready answers of all doors of a worker; 0 turns it off"
)
answer_cache_seconds = _limit(
    "answer_cache_seconds", 3600, 1, 36_000, "how long a ready answer is used; Handle answers expire at 12 h"
)
verdicts = _limit("verdicts", 65_536, 1, 1_048_576, "records of its own table that a node remembers as verified")
record_cache_octets = _limit(
    "record_cache_octets", 67_108_864, 65_536, 2**36, "memory of verified records and delegations of a recursive node"
)
record_ttl_seconds = _limit("record_ttl_seconds", 604_800, 1, 2_592_000, "a longer TTL is cut to this: a change arrives at last")
negative_ttl_seconds = _limit("negative_ttl_seconds", 60, 0, 3600, "how long 'no such identifier' is remembered")
stale_seconds = _limit("stale_seconds", 86_400, 0, 604_800, "how long past its TTL a record may be served when no server answers")
stale_ttl_seconds = _law("stale_ttl_seconds", 30, "the TTL of a stale answer (RFC 8767, 4)")
outage_seconds = _limit("outage_seconds", 5, 1, 300, "how long a server that did not answer is asked last, or not (RFC 9520, 3.2)")
recursion_walks = _limit("recursion_walks", 1024, 1, 65_536, "walks under way at once; further questions are answered busy")
recursion_waiters = _limit("recursion_waiters", 256, 1, 65_536, "questions that wait for one and the same walk")
recursion_exchanges = _law("recursion_exchanges", 64, "requests sent to others for one question")
exchange_datagrams = _law("exchange_datagrams", 2048, "datagrams read for one answer over UDP; the longest has 533")
recursion_seconds = _limit("recursion_seconds", 5, 1, 60, "one question in all")
exchange_milliseconds = _limit("exchange_milliseconds", 800, 50, 30_000, "one server, one try over UDP; TCP has twice that")
exchange_tries = _limit("exchange_tries", 4, 1, 16, "tries over all servers of a delegation")
delegation_servers = _law("delegation_servers", 16, "servers of one delegation that are used")

# ---- trust
chain_records = _law("chain_records", 16, "records in a chain of signatures; deployed verifiers stop at 50")
signatures_verified = _law("signatures_verified", 32, "signature verifications for one verdict")
token_octets = _law("token_octets", 250_000, "a compact JWS; a record of 1,780 values has one of 169,000")
signature_days = _limit("signature_days", 730, 1, 3650, "how long a record's signature holds")
clock_skew_seconds = _limit("clock_skew_seconds", 300, 0, 3600, "how far clocks may differ when not-before is checked")

# ---- registry
page_items = _limit("page_items", 1000, 1, 10_000, "identifiers in one page of a list")
page_octets = _limit("page_octets", 4_194_304, 65_536, 67_108_864, "data in one page of a history; a version may have 200,000")
bulk_line_octets = _limit("bulk_line_octets", 262_144, 1024, 1_048_576, "one line of a bulk registration")
bulk_window_lines = _limit("bulk_window_lines", 1000, 1, 10_000, "lines of one bulk request that are committed together")
bulk_window_octets = _limit(
    "bulk_window_octets", 1_048_576, 65_536, 16_777_216, "lines of one bulk request held at once, in octets"
)
bulk_streams = _limit("bulk_streams", 16, 1, 256, "bulk requests under way at once; further ones are answered busy")
bulk_stall_seconds = _limit("bulk_stall_seconds", 60, 1, 600, "a bulk client that neither sends nor reads is cut after this")
http_body_seconds = _limit("http_body_seconds", 30, 1, 600, "a request's body, bulk apart, must have arrived by then")
http_idle_seconds = _limit("http_idle_seconds", 75, 1, 3600, "a registry connection without a whole request head is closed")
gzip_expansion = _limit("gzip_expansion", 100, 10, 1032, "octets that one octet of a compressed body may become")
commit_changes = _limit("commit_changes", 2000, 1, 20_000, "changes in one transaction of the truth")
write_queue = _limit("write_queue", 10_000, 16, 1_000_000, "writes that wait for a commit; further ones are answered busy")
idempotency_seconds = _limit("idempotency_seconds", 86_400, 60, 604_800, "how long a reply is kept for its Idempotency-Key")
token_prefixes = _law("token_prefixes", 100, "prefixes that one token may write below")
idempotency_key_octets = _law("idempotency_key_octets", 255, "an Idempotency-Key")
proof_seconds = _limit("proof_seconds", 3600, 60, 86_400, "age of a child's proof that it holds its key")
resign_changes = _limit("resign_changes", 200, 1, 20_000, "records that are signed again in one go, before their signatures end")
resign_seconds = _limit("resign_seconds", 60, 1, 86_400, "how often the registry looks for signatures that draw to an end")
change_feed = _limit("change_feed", 65_536, 1024, 1_048_576, "changes that the table remembers for the workers' answer caches")
publish_milliseconds = _limit(
    "publish_milliseconds", 100, 10, 1000, "how long a committed change may wait for the next publication"
)
refresh_milliseconds = _limit("refresh_milliseconds", 50, 5, 1000, "how often a worker looks for a newer table")

# ---- import
import_row_characters = _law(
    "import_row_characters", 262_144, "one row of an imported file; an unclosed quote must not take it all"
)
import_columns = _law("import_columns", 4096, "columns of an imported file")
import_window_rows = _law("import_window_rows", 4000, "rows read and not yet answered; some of the registry's bulk windows")


class Limits:
    """The bounds in force in one program: the defaults, and what its file says instead."""

    def __init__(self, settings: Mapping[str, object] | None = None, place: str = "[limits]") -> None:
        """Raises ConfigError for an unknown name, a fixed bound, or a number outside least..most."""
        self._set: dict[str, int] = {}
        for name, value in (settings or {}).items():
            bound = TABLE.get(name)
            if bound is None:
                raise ConfigError(f"{place}: there is no bound {name!r}; `waymark limits` lists them")
            if not bound.configurable:
                raise ConfigError(f"{place}: {name} is fixed at {bound.default} ({bound.why})")
            if type(value) is not int or not bound.least <= value <= bound.most:
                raise ConfigError(f"{place}: {name} must be a whole number from {bound.least} to {bound.most}, not {value!r}")
            self._set[name] = value

    def __getitem__(self, bound: Limit) -> int:
        return self._set.get(bound.name, bound.default)
