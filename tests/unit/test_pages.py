"""The words and values of the pages: both languages complete, no word idle, no value that cannot be shown."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import resolver.doors.pages as pages
from resolver.core.record import Value
from resolver.core.trust import Reason
from resolver.doors.pages import reader_of, weight_of, words
from resolver.doors.pages.shown import shown

FOLDER = Path(pages.__file__).parent
NOTICES = ("verified", "refused", "unproven", "stale", "not-found", "gone", "elsewhere", "not-here", "bad", "failed")


def test_every_word_is_used_and_every_word_used_exists() -> None:
    sources = "".join(path.read_text("utf-8") for path in [*FOLDER.glob("*.html"), *FOLDER.glob("*.py")])
    spoken = set(re.findall(r"(?:say\(|word\((?:reader\.)?language, ?)['\"]([a-z-]+)['\"]", sources))
    spoken |= set(re.findall(r'"(refused-text|failed-text|not-found-next|unproven-text)"', sources))
    spoken = spoken - {"role-"} | {f"role-{role}" for role in ("root", "top", "secondary", "enterprise", "recursive")}
    spoken |= {*NOTICES} | {f"{tone}-text" for tone in ("verified", "refused", "unproven")}
    assert spoken == set(words._WORDS)


@pytest.mark.parametrize("table", [words._WORDS, words._TYPES, words._REASONS], ids=["words", "types", "reasons"])
def test_both_languages_say_the_same_places(table: dict[str, tuple[str, str]]) -> None:
    for name, (chinese, english) in table.items():
        assert set(re.findall(r"\{\w+\}", chinese)) == set(re.findall(r"\{\w+\}", english)), name
        assert re.search(r"[\u4e00-\u9fff]", chinese), name
        assert not re.search(r"[\u4e00-\u9fff]", english), name


def test_every_reason_has_its_words() -> None:
    assert {reason.value for reason in Reason} <= set(words._REASONS)


@pytest.mark.parametrize(
    ("accept", "lang", "language"),
    [
        ("", None, "en"), ("zh", None, "zh"), ("zh-Hant-TW, en;q=0.9", None, "zh"), ("en, zh;q=0.9", None, "en"),
        ("fr;q=1, zh;q=0.2", None, "zh"), ("de", None, "en"), ("zh;q=0", None, "en"), ("en", "zh", "zh"), ("zh", "en", "en"),
        ("zh", "klingon", "zh"), (";;;=,,,q=", None, "en"), ("zh;q=nan, en;q=0.1", None, "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_readers(accept: str, lang: str | None, language: str) -> None:
    assert reader_of(accept, lang, "/").language == language


def test_weights_lie_between_nothing_and_one() -> None:
    assert [weight_of(text) for text in ("", "q=0.5", "Q = 1", "q=9", "q=-1", "q=x", "v=0.1", "q=nan")] == [
        1,
        0.5,
        1,
        1,
        0,
        0,
        1,
        0,
    ]


types = st.sampled_from(["URL", "HS_ADMIN", "HS_VLIST", "HS_SITE", "HS_SITE.PREFIX", "HS_ALIAS", "JWK", "HS_PUBKEY", "OTHER"])
data = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b'{"crv":1,"x":null}', b"[1]", b"{", b"http://x/ y", b"[" * 5000, b"\xff"]),
)


@settings(max_examples=1500, deadline=None)
@given(types, data, st.sampled_from(["zh", "en"]))
@example("HS_VLIST", bytes(4), "zh")
def test_whatever_a_value_holds_can_be_shown(type_: str, octets: bytes, language: str) -> None:
    found = shown(Value(1, type_, octets), language)
    assert found.text or not octets
    assert found.link is None or found.link.lower().startswith(("http://", "https://"))
    assert len(found.text) <= 280
