"""The pull parser reads what json reads, in windows of any size, and names files that end too early."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im2hands.datasets.json_stream import JsonStream
from im2hands.io.errors import DamagedFileError, DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "data.json"


def read(path, block):
    content = {}
    with JsonStream(path, "data file", block) as stream:
        for key in stream.members():
            content[key] = list(stream.items())
    return content


@given(
    content=st.dictionaries(st.text(max_size=4), st.lists(VALUES, max_size=4), max_size=3),
    block=st.integers(1, 20),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_reads_what_json_reads_in_windows_of_any_size(file, content, block, indent, ascii_only):
    file.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert read(file, block) == content


@given(cut=st.integers(0, 61), block=st.integers(1, 20))
def test_a_truncated_file_is_named_with_a_remedy(file, cut, block):
    text = json.dumps({"images": [{"id": 12345, "name": "a"}, 678], "b": [[1.5]]})
    file.write_text(text[: min(cut, len(text) - 1)])
    with pytest.raises(DamagedFileError, match=r"data\.json: the data file is not valid JSON.*fetch or unpack"):
        read(file, block)


@pytest.mark.parametrize("text", ['{"a" [1]}', '{"a": [1 2]}', "{1: []}", "[]", '{"a": [nonsense]}'])
def test_wrong_syntax_is_refused(file, text):
    file.write_text(text)
    with pytest.raises(DamagedFileError, match="not valid JSON"):
        read(file, 4)


def test_a_missing_file_is_named(tmp_path):
    with (
        pytest.raises(DataError, match=r"b\.json: the data file is missing"),
        JsonStream(tmp_path / "b.json", "data file"),
    ):
        pass


def test_skip_passes_over_any_value(file):
    file.write_text(json.dumps({"a": [[1, 2], 3], "b": {"c": 1}, "d": [4]}))
    with JsonStream(file, "data file", 3) as stream:
        for key in stream.members():
            if key == "d":
                assert list(stream.items()) == [4]
            else:
                stream.skip()


def test_memory_does_not_grow_with_the_file(file):
    """Only the window is kept: after many items it is not longer than a few blocks."""
    file.write_text(json.dumps({"a": list(range(100_000))}))
    longest = 0
    with JsonStream(file, "data file", 1000) as stream:
        for _ in stream.members():
            for _ in stream.items():
                longest = max(longest, len(stream._text))
    assert longest < 3000
