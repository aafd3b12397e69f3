"""Commands and envelopes outside of memory: what comes back is what was given, or it was refused."""

import enum
import pickle
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import (
    Actor,
    Address,
    Command,
    Kind,
    NoSystem,
    NotDecodable,
    NotEncodable,
    Parcel,
    Ref,
    decode_command,
    decode_envelope,
    encodable,
    encode_command,
    encode_envelope,
    handles,
    open_system,
)
from greenroom.runtime.batches import BatchEnvelope
from greenroom.runtime.codec import decode_value, encode_value
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.testing import MemoryCommitter


@encodable("tests.codec.color")
class Color(enum.Enum):
    RED = 1
    GREEN = "green"


@encodable("tests.codec.point")
@dataclass(frozen=True, slots=True)
class Point:
    x: object
    y: object = None


@encodable("tests.codec.paint")
@dataclass(frozen=True, slots=True)
class Paint(Command[None]):
    what: Any
    length: int = field(init=False, default=3)


@dataclass(frozen=True, slots=True)
class Unnamed(Command[None]):
    pass


class Plain(enum.Enum):
    ONE = 1


ADDRESSES = st.builds(Address, st.text(), st.integers() | st.text())
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.binary() | st.sampled_from(Color) | ADDRESSES
)  # fmt: skip
HASHABLE = st.recursive(LEAVES, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$", "$tuple", "$dict", "$bytes", "a"]), inner)
        | st.sets(HASHABLE, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Paint, inner)
    ),
    max_leaves=12,
)


def is_same(one, other):
    """Equal, and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return is_same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(encode_value, one)) == sorted(map(encode_value, other))
    if isinstance(one, Point):
        return is_same((one.x, one.y), (other.x, other.y))
    if isinstance(one, Paint):
        return is_same(one.what, other.what)
    return one == other


@given(value=VALUES)
def test_every_value_that_has_a_form_comes_back_as_it_was(value):
    text = encode_value(value)
    assert text.isascii()
    assert is_same(decode_value(text), value)
    assert encode_value(decode_value(text)) == text


@given(what=VALUES)
def test_so_does_every_command(what):
    command = Paint(what)
    assert is_same(decode_command(encode_command(command)), command)


@given(text=st.text() | st.recursive(st.text(), lambda inner: st.builds('{{"$tuple":[{}]}}'.format, inner)))
def test_a_text_that_means_nothing_is_an_error_of_its_own(text):
    with suppress(NotDecodable):
        decode_command(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not the text of a value"),
        ("[1]", "is the text of a value, not of a command"),
        ('{"$":"os.system","command":"true"}', "nothing is @encodable"),
        ('{"$":"tests.codec.paint"}', "missing 1 required positional argument: 'what'"),
        ('{"$":"tests.codec.paint","what":1,"where":2}', "unexpected keyword argument 'where'"),
        ('{"$":"tests.codec.paint","what":{"$enum":["tests.codec.color","BLUE"]}}', "BLUE"),
        ('{"$":"tests.codec.paint","what":{"$address":["room",1.5]}}', "no address"),
        ('{"$":"tests.codec.paint","what":{"$bytes":"ä"}}', "ASCII"),
        ('{"$":"tests.codec.paint","what":{"$nothing":1}}', "$nothing"),
        ("[" * 100_000, "RecursionError"),
        ('{"$enum":["tests.codec.color"]}', "IndexError"),
        ('{"$":"tests.codec.paint","what":NaN}', "NaN is no number"),
        ('{"$":"tests.codec.paint","what":[-Infinity]}', "-Infinity is no number"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text, words):
    with pytest.raises(NotDecodable) as error:
        decode_command(text)
    assert words in str(error.value)


def deep(levels):
    return [deep(levels - 1)] if levels else []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Unnamed(), 'Unnamed has no name to be stored under: put @encodable("…") above its class'),
        (Paint(Unnamed()), "Unnamed has no name"),
        (Paint(Plain.ONE), "Plain has no name"),
        (Paint(object()), "a object has no form outside of memory: use plain values"),
        (Paint([lambda: 1]), "a function has no form outside of memory"),
        (Paint(float("nan")), "nan has no form outside of memory: use None"),
        (Paint({"a": float("inf")}), "inf has no form"),
        (Paint(deep(50)), "nested more than 32 deep"),
        (Paint([10**5000]), "cannot be encoded"),
        ("paint", "a str has no form"),
    ],
)
def test_what_has_no_form_is_refused_with_what_to_do(command, words):
    with pytest.raises(NotEncodable) as error:
        encode_command(command)
    assert words in str(error.value)


def test_a_field_that_came_later_has_its_default():
    assert decode_value('{"$":"tests.codec.point","x":1}') == Point(1, None)


def test_a_name_stands_for_one_class_and_only_for_what_has_fields():
    with pytest.raises(TypeError, match=r"Color is stored as 'tests\.codec\.color' already: give Other another name"):

        @encodable("tests.codec.color")
        class Other(enum.Enum):
            A = 1

    with pytest.raises(TypeError, match="Bare is no dataclass and no enum: put @encodable above @dataclass"):

        @dataclass(frozen=True, slots=True)
        @encodable("tests.codec.bare")
        class Bare:
            x: int

    with pytest.raises(TypeError, match="encodable takes the name that is stored"):
        encodable(Point)


class Painter(Actor):
    texts: ClassVar[list] = []

    @handles(Paint)
    async def paint(self, command: Paint) -> None:
        question = Question(Address("painter", 2), Paint("next"), print, self.ctx._waiting_turn())
        self.texts.append(encode_envelope(question, trio.current_time()))


def what_of(text):
    command = decode_command(text)
    assert isinstance(command, Paint)
    return command.what


async def test_a_ref_is_its_address_and_leads_there_in_the_system_where_it_is_read():
    async with open_system([Kind("painter", lambda _: Painter())], committer=MemoryCommitter()) as system:
        text = encode_command(Paint(system.ref("painter", 7)))
        ref = what_of(text)
        assert ref == system.ref("painter", 7)
        ref.tell(Paint(1))
        assert pickle.loads(pickle.dumps(ref)) == ref
    nowhere = what_of(text)
    assert isinstance(nowhere, Ref)
    with pytest.raises(NoSystem):
        nowhere.tell(Paint(1))


@given(
    to=ADDRESSES,
    what=VALUES,
    now=st.floats(0, 10**6),
    left=st.none() | st.floats(-10, 10**6),
    elsewhere=st.floats(0, 9),
)
def test_an_envelope_comes_back_with_all_that_another_process_must_know(to, what, now, left, elsewhere):
    tell = decode_envelope(encode_envelope(Envelope(to, Paint(what)), now))
    assert (tell.to, tell.is_ask, tell.seconds_left, tell.hops) == (to, False, None, ())
    assert is_same(tell.command, Paint(what))
    opened = tell.unpack(elsewhere)
    assert (opened.to, opened.is_ask, opened.state, opened.ends_at) == (to, False, "queued", float("inf"))

    question = Question(to, Paint(what), print)
    if left is not None:
        question.ends_at = now + left
    ask = decode_envelope(encode_envelope(question, now))
    opened = ask.unpack(elsewhere, print)
    assert (opened.to, opened.is_ask) == (to, True)
    expected = float("inf") if left is None else elsewhere + max(0.0, now + left - now)
    assert opened.ends_at == pytest.approx(expected)


async def test_the_hops_of_an_ask_travel_with_it():
    async with open_system([Kind("painter", lambda _: Painter())], committer=MemoryCommitter()) as system:
        await system.ref("painter", 1).ask(Paint(1), deadline=trio.current_time() + 5)
        parcel = decode_envelope(Painter.texts[-1])
        assert parcel.hops == ((Address("painter", 1), "Paint"),)


def test_what_cannot_travel_says_why():
    with pytest.raises(NotEncodable, match="a batch travels command by command"):
        encode_envelope(BatchEnvelope(Address("a", 1), [Envelope(Address("a", 1), Paint(1))]), 0)
    followed = Question(Address("a", 1), Paint(1), print)
    followed.stream = trio.open_memory_channel(1)[0]
    with pytest.raises(NotEncodable, match="a stream not at all"):
        encode_envelope(followed, 0)
    with pytest.raises(NotEncodable, match="Unnamed has no name"):
        encode_envelope(Envelope(Address("a", 1), Unnamed()), 0)
    for text in ("[1]", encode_value(Point(1)), encode_value(Parcel(None, 1, False, None, ()))):
        with pytest.raises(NotDecodable, match="is no envelope"):
            decode_envelope(text)
    tell = decode_envelope(encode_envelope(Envelope(Address("a", 1), Paint(1)), 0))
    with pytest.raises(ValueError, match="a tell without"):
        tell.unpack(0, print)
