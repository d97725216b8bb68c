"""Ready answers: bounded, forgotten on a change, never used past their end."""

from hypothesis import given
from hypothesis import strategies as st

from resolver.core.cache import AnswerCache, Budget


def test_an_answer_is_found_until_its_record_changes() -> None:
    cache: AnswerCache[bytes, str] = AnswerCache(Budget(2**20))
    cache.put(b"q1", "answer", b"88/A", 50, expires=100)
    cache.put(b"q2", "by type", b"88/A", 50, expires=100)
    cache.put(b"q3", "other", b"88/B", 50, expires=100)
    assert cache.get(b"q1", 99) == "answer"
    assert cache.get(b"q1", 101) is None
    cache.forget([b"88/A"])
    assert cache.get(b"q1", 99) is None
    assert cache.get(b"q2", 99) is None
    assert cache.get(b"q3", 99) == "other"
    cache.put(b"q1", "new answer", b"88/A", 50, expires=100)
    assert cache.get(b"q1", 99) == "new answer"
    cache.forget(None)
    assert (cache.get(b"q3", 99), len(cache), cache.octets) == (None, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3000)), max_size=200))
def test_it_never_holds_more_than_its_bound(puts: list[tuple[int, int]]) -> None:
    cache: AnswerCache[int, int] = AnswerCache(Budget(100_000))
    for question, octets in puts:
        cache.put(question, octets, b"key", octets, expires=1)
        assert cache.octets <= 100_000
        held = [kept for q in range(51) if (kept := cache.get(q, 0)) is not None]
        assert sum(kept + 260 for kept in held) == cache.octets


def test_the_oldest_make_room() -> None:
    cache: AnswerCache[int, int] = AnswerCache(Budget(64 * 1000))
    for question in range(1000):
        cache.put(question, question, b"key", 100, expires=1)
    assert cache.get(999, 0) == 999
    assert cache.get(0, 0) is None


def test_a_bound_of_zero_turns_it_off() -> None:
    cache: AnswerCache[int, int] = AnswerCache(Budget(0))
    cache.put(1, 1, b"key", 0, expires=1)
    assert cache.get(1, 0) is None


def test_doors_share_one_budget_and_the_largest_gives_way() -> None:
    budget = Budget(64 * 1000)
    busy: AnswerCache[int, int] = AnswerCache(budget)
    quiet: AnswerCache[int, int] = AnswerCache(budget)
    for question in range(500):
        busy.put(question, question, b"key", 100, expires=1)
    for question in range(50):
        quiet.put(question, question, b"key", 100, expires=1)
    assert len(quiet) == 50
    assert busy.octets + quiet.octets == budget.octets <= budget.octets_max
    busy.forget(None)
    assert budget.octets == quiet.octets
