"""The one decoder: JSON as it is, minus what nobody downstream can store or send on."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.decode import DEPTH_MAX, INTEGER_MAX, STRING_CHARACTERS_MAX, BadJson, decode, decode_object

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=60)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(values, st.booleans(), st.booleans())
def test_what_can_be_stored_comes_back_as_it_was(value: object, ascii_only: bool, as_bytes: bool):
    text = json.dumps(value, ensure_ascii=ascii_only)
    if depth(value) > DEPTH_MAX:
        with pytest.raises(BadJson):
            decode(text)
    else:
        assert decode(text.encode() if as_bytes else text) == value


@given(st.binary() | st.text())
def test_whatever_comes_it_is_a_value_or_bad_json(data: bytes | str):
    try:
        value = decode(data)
    except BadJson:
        pass
    else:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@given(st.lists(st.sampled_from([*'[]{}",:\\u0d8/eE+-.159 \n', "\\u0000", "\\ud800", "NaN", "1" * 20]), max_size=60))
def test_what_nearly_is_json_is_a_clean_value_or_bad_json(parts: list[str]):
    try:
        value = decode("".join(parts))
    except BadJson:
        return
    assert "\0" not in json.dumps(value, allow_nan=False, ensure_ascii=False).encode().decode()
    assert "\\u0000" not in json.dumps(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1}x',
        b"{'a':1}",
        b"[1,]",
        b"01",
        b"+1",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"a\x00b"',
        b'"a\nb"',
        '"\ud800"',
    ],
)
def test_what_is_not_json_is_refused(data: bytes | str):
    with pytest.raises(BadJson):
        decode(data)


@pytest.mark.parametrize("text", ['"\\u0000"', '{"a\\u0000":1}', '[["x\\u0000y"]]', '"\\u0041\\u0000"'])
def test_the_character_nul_is_refused_however_it_is_written(text: str):
    with pytest.raises(BadJson, match="NUL"):
        decode(text)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00"', '"\\ud800\\u0041"', '{"\\udfff":1}', '["\\udc00\\ud800"]'])
def test_half_of_a_surrogate_pair_is_refused(text: str):
    with pytest.raises(BadJson, match="surrogate"):
        decode(text)


def test_whole_pairs_and_escaped_backslashes_are_text():
    assert decode(b'["\\ud83d\\ude00", "\\\\u0000", "\\\\ud800"]') == ["😀", "\\u0000", "\\ud800"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '{"a":NaN}', "1e400", "-1e400", "1" * 320 + ".0"])
def test_numbers_that_are_none_are_refused(text: str):
    with pytest.raises(BadJson):
        decode(text)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [str(INTEGER_MAX + 1), "9" * 16, "1" + "0" * 400, "1" + "0" * 100_000], ids=len)
def test_an_integer_beyond_2_to_the_53_is_refused(sign: str, digits: str):
    with pytest.raises(BadJson, match=r"2\^53"):
        decode(f'{{"id":{sign}{digits}}}')


def test_the_largest_integers_and_long_digits_in_text_are_fine():
    assert decode(f'[{INTEGER_MAX},{-INTEGER_MAX},"{"9" * 40}"]') == [INTEGER_MAX, -INTEGER_MAX, "9" * 40]


def test_small_numbers_of_many_digits_are_fine():
    value = decode("[0.30000000000000004, 1e-400]")
    assert value == [0.1 + 0.2, 0.0]
    assert isinstance(value, list)
    assert all(math.isfinite(number) for number in value)


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_has_a_limit_that_no_depth_gets_around(start: str, end: str):
    per_step = len([sign for sign in start if sign in "[{"])
    deepest = DEPTH_MAX // per_step
    decode(start * deepest + "0" + end * deepest)
    for steps in (deepest + 1, 500, 200_000):
        with pytest.raises(BadJson, match="deep"):
            decode(start * steps + "0" + end * steps)


def test_opening_signs_in_text_do_not_count():
    assert decode(json.dumps("[{" * 1000)) == "[{" * 1000


def test_many_containers_beside_each_other_are_not_deep():
    assert decode("[" + ",".join(["{}"] * 1000) + "]") == [{}] * 1000


def test_a_string_has_a_limit_that_the_caller_may_raise():
    text = json.dumps("x" * (STRING_CHARACTERS_MAX + 1))
    with pytest.raises(BadJson, match="characters"):
        decode(text)
    with pytest.raises(BadJson, match="characters"):
        decode("{" + text + ":1}")
    assert decode(text, string_characters_max=100_000)


def test_of_a_key_that_comes_twice_the_last_counts():
    assert decode('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "true"])
def test_where_an_object_is_needed_nothing_else_will_do(text: str):
    with pytest.raises(BadJson, match="object"):
        decode_object(text)


def test_a_fault_quotes_nothing_of_the_input():
    with pytest.raises(BadJson) as fault:
        decode(b'{"password":"hunter2" oops}')
    assert "hunter2" not in str(fault.value)
    assert "character 23" in str(fault.value)
