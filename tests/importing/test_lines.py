"""Files as lines: every kind of damage is one problem on its line, and the next line is read."""

import gzip
from pathlib import Path

import pytest

from infra.errors import AssayError
from infra.importing.lines import MAX_LINE_BYTES, Line, Problem, json_objects, opened, text_lines
from tests.importing.feeding import codes, lines


def read(content: bytes) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    found = list(lines(content))
    return [tuple(one) for one in found if isinstance(one, Line)], codes([one for one in found if isinstance(one, Problem)])


@pytest.mark.parametrize(
    ("content", "texts", "problems"),
    [
        (b"a\nb", [(1, "a"), (2, "b")], []),
        (b"\xef\xbb\xbfa\r\nb\r\n", [(1, "a"), (2, "b")], []),
        (b"a\n\n \r\nb\n", [(1, "a"), (4, "b")], []),
        (b"a\nb\0c\nd\n", [(1, "a"), (3, "d")], [(2, "nul_byte")]),
        (b"a\n\xe9t\xe9\nd\n", [(1, "a"), (3, "d")], [(2, "not_utf8")]),
        ("é\u2028ü\x85\n".encode(), [(1, "é\u2028ü\x85")], []),
        (b"", [], [(1, "empty_file")]),
        (b"\n\n", [], []),
    ],
)
def test_lines(content: bytes, texts: list[tuple[int, str]], problems: list[tuple[int, str]]) -> None:
    assert read(content) == (texts, problems)


@pytest.mark.parametrize("extra", [1, MAX_LINE_BYTES, 2 * MAX_LINE_BYTES + 5])
def test_a_huge_line_is_skipped_whole(extra: int) -> None:
    content = b"a\n" + b"x" * (MAX_LINE_BYTES + extra) + b"\nb\n" + b"y" * (MAX_LINE_BYTES + extra)
    assert read(content) == ([(1, "a"), (3, "b")], [(2, "line_too_long"), (4, "line_too_long")])


def test_the_longest_line_is_taken() -> None:
    texts, problems = read(b"x" * MAX_LINE_BYTES + b"\nb\n")
    assert [(number, len(text)) for number, text in texts] == [(1, MAX_LINE_BYTES), (2, 1)]
    assert problems == []


def test_json_objects() -> None:
    found = list(json_objects(lines(b'{"a": 1}\n[1]\n{"a": \nnull\n{"b": 2}')))
    assert [one for one in found if not isinstance(one, Problem)] == [(1, {"a": 1}), (5, {"b": 2})]
    assert codes([one for one in found if isinstance(one, Problem)]) == [
        (2, "not_an_object"),
        (3, "not_json"),
        (4, "not_an_object"),
    ]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    with opened(path) as file:
        assert [tuple(line) for line in text_lines(file)] == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("content", [gzip.compress(b"a\nb\n" * 1000, mtime=0)[:-9], b"a\nb\n"])
def test_half_a_packed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    with pytest.raises(AssayError, match="not whole gzip data"), opened(path) as file:
        list(text_lines(file))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no such file"), opened(tmp_path / "none"):
        pass
    with pytest.raises(AssayError, match="folder"), opened(tmp_path):
        pass
