"""Rows that are unpacked when somebody looks are those of a plain dict, in whichever way they are looked at."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from infra.history.rows import LazyRows

KEYS = st.sampled_from("abcdef")


class Kept:
    """Packed rows in memory."""

    def __init__(self, rows: dict[str, str]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def packed(self, key: str) -> bytes | None:
        return self._rows[key].encode() if key in self._rows else None


@given(kept=st.dictionaries(KEYS, st.text("xyz")), touched=st.lists(KEYS), written=st.dictionaries(KEYS, st.text("xyz")))
def test_each_row_comes_once(kept: dict[str, str], touched: list[str], written: dict[str, str]) -> None:
    rows = LazyRows(Kept(kept), bytes.decode, lambda key, row: None)
    wanted = {**kept, **written}
    for key in touched:
        assert rows.get(key) == kept.get(key)
    rows.update(written)
    assert sorted(rows.items()) == sorted(wanted.items())
    assert sorted(rows.values()) == sorted(wanted.values())
    assert (sorted(rows.keys()), len(rows)) == (sorted(wanted), len(wanted))


def test_whoever_looks_at_all_of_them_for_the_first_time_sees_each_once() -> None:
    rows = LazyRows(Kept({"a": "x", "b": "y"}), bytes.decode, lambda key, row: None)
    assert rows.items() == [("a", "x"), ("b", "y")]
