"""Messages in pieces and edits in; reasoning and answer out."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects.reasoning_blocks import Snapshot, TextSource
from ztoapi.dialects.thinking import REASONING_HOLD_CHARS, Channel, ThinkMode

BLOCK = '<details type="reasoning" done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n'
OPEN = '<details type="reasoning" done="false">\n<summary>Thinking...</summary>\n'


def split(text: str, mode: ThinkMode = "reasoning") -> tuple[str, str]:
    """A whole message's (reasoning, answer)."""
    snapshot = Snapshot(mode)
    snapshot.append(text, TextSource.EDIT)
    return snapshot.end()


def split_pieces(
    pieces: list[str], mode: ThinkMode = "reasoning", source: TextSource = TextSource.EDIT
) -> tuple[str, str]:
    snapshot = Snapshot(mode)
    taken: list[tuple[str, str]] = []
    for piece in pieces:
        snapshot.append(piece, source)
        taken.append(snapshot.take())
    taken.append(snapshot.end())
    return "".join(reasoning for reasoning, _ in taken), "".join(content for _, content in taken)


@table(
    ("message", "expected"),
    [
        ("Four.", ("", "Four.")),
        (BLOCK + "> Add them.\n> Easy.\n</details>\nFour.", ("Add them.\nEasy.", "Four.")),
        (BLOCK + "> > nested\n>\n> end\n</details>\n\nFour.", ("> nested\n\nend", "\nFour.")),
        (BLOCK + "unquoted\n> quoted\n</details>\nFour.", ("unquoted\nquoted", "Four.")),
        (BLOCK + ">no space\n</details>Four.", ("no space", "Four.")),
        (BLOCK + "> a\n</details>\nb" + BLOCK + "> c\n</details>\nd", ("a\n\nc", "bd")),
        (BLOCK + "> write </details> last\n</details>\nFour.", ("write </details> last", "Four.")),
        (BLOCK + "> it ends in </details>\n</details>\nFour.", ("it ends in </details>", "Four.")),
        (BLOCK + "> it ends in </details>\n> go on\n</details>\nFour.", ("it ends in </details>\ngo on", "Four.")),
        (BLOCK + "> Easy.</details>\nFour.", ("Easy.", "Four.")),
        (BLOCK + "plain</details>\nFour.", ("plain", "Four.")),
        (BLOCK + "> a < b & c &amp; d\n</details>\n1 < 2", ("a < b & c &amp; d", "1 < 2")),
        ('a<glm_block x="1">{"k":"</details>"}</glm_block>b', ("", "ab")),
        (BLOCK + "> a\n<glm_block>{}</glm_block>\n> b\n</details>\nc", ("a\n\nb", "c")),
        ("a</thinking>b<Full>c", ("", "abc")),
        ("<details><summary>More</summary>text</details>", ("", "<details><summary>More</summary>text</details>")),
        ("a <b>c</b> <", ("", "a <b>c</b> <")),
        ("a <det", ("", "a <det")),
        ('a <details type="rea', ("", "a ")),
        ("a <glm_block", ("", "a ")),
        (BLOCK + "> never ends", ("never ends", "")),
        (BLOCK + "> ends in </details>", ("ends in ", "")),
        (BLOCK + "> ends in </det", ("ends in </det", "")),
        (BLOCK + "> ends\n</det", ("ends\n</det", "")),
        (BLOCK + "> ends\n>", ("ends", "")),
        ("<details " + "x" * 600, ("", "<details " + "x" * 600)),
    ],
)
def test_message_comes_apart_in_any_pieces(message: str, expected: tuple[str, str]) -> None:
    assert split(message) == expected
    assert split_pieces(list(message)) == expected
    for at in range(len(message)):
        assert split_pieces([message[:at], message[at:]]) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("strip", ("", "Four.")),
        ("think", ("", "<think>Add.</think>Four.")),
        ("reasoning", ("Add.", "Four.")),
        ("raw", ("", BLOCK + "> Add.\n</details>\nFour.")),
    ],
)
def test_mode_decides_where_reasoning_goes(mode: ThinkMode, expected: tuple[str, str]) -> None:
    message = BLOCK + "> Add.\n</details>\nFour."
    assert split(message, mode) == expected
    assert split_pieces(list(message), mode) == expected


def test_think_mode_closes_each_round() -> None:
    message = BLOCK + "> a\n</details>\nb" + BLOCK + "> c\n</details>\nd" + BLOCK + "> e"
    assert split(message, "think") == ("", "<think>a</think>b<think>c</think>d<think>e</think>")


def test_raw_mode_waits_for_the_edit_of_an_unfinished_block() -> None:
    snapshot = Snapshot("raw")
    snapshot.append("Hi " + OPEN + "> Add.", TextSource.THINKING)
    assert snapshot.take() == ("", "Hi ")
    snapshot.edit(3 + 25, BLOCK[25:] + "> Add.\n</details>\nFour.")
    assert snapshot.take() == ("", BLOCK + "> Add.\n</details>\nFour.")
    assert snapshot.rewrites == 0


def test_raw_mode_gives_an_unfinished_block_at_the_end() -> None:
    assert split_pieces([OPEN, "> Ad", "d</det"], "raw") == ("", OPEN + "> Add</det")
    assert split_pieces([OPEN, "> Ad", "d</details>", "x"], "raw") == ("", OPEN + "> Add</details>x")


def test_thinking_without_markup_is_reasoning() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("Add them.", TextSource.THINKING)
    snapshot.append("Four.", TextSource.ANSWER)
    assert snapshot.end() == ("Add them.", "Four.")


@pytest.mark.parametrize("answer", ["Four.", "\n</details>\nFour.", "</details>Four."])
def test_answer_phase_closes_a_block_that_was_left_open(answer: str) -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append(OPEN + "> Add them.", TextSource.THINKING)
    for character in answer:
        snapshot.append(character, TextSource.ANSWER)
    assert snapshot.end() == ("Add them.", "Four.")


def test_hidden_text_counts_for_the_index_but_is_not_shown() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("ab", TextSource.ANSWER)
    snapshot.append("hidden", TextSource.HIDDEN)
    snapshot.append("cd", TextSource.ANSWER)
    assert snapshot.take() == ("", "abcd")
    snapshot.edit(9, "e")
    assert snapshot.end() == ("", "e")
    assert snapshot.rewrites == 1


def test_index_counts_utf16_code_units() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("a\U0001f600b\u00e9c", TextSource.ANSWER)
    snapshot.edit(5, "d")
    assert snapshot.end() == ("", "a\U0001f600b\u00e9d")


def test_index_within_a_surrogate_pair_drops_the_pair() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("a\U0001f600b", TextSource.ANSWER)
    snapshot.edit(2, "c")
    assert snapshot.end() == ("", "ac")


def test_index_beyond_the_message_appends() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("ab", TextSource.ANSWER)
    snapshot.edit(99, "c")
    assert snapshot.end() == ("", "abc")


def test_edit_of_emitted_text_emits_what_follows_the_common_prefix() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("Hello world", TextSource.ANSWER)
    assert snapshot.take() == ("", "Hello world")
    snapshot.edit(6, "there")
    assert snapshot.take() == ("", "there")
    assert snapshot.rewrites == 1
    snapshot.append("!", TextSource.ANSWER)
    assert snapshot.end() == ("", "!")
    assert snapshot.rewrites == 1


def test_text_cut_off_and_sent_again_is_not_repeated() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("Hello world", TextSource.ANSWER)
    snapshot.take()
    snapshot.edit(5, "")
    assert snapshot.take() == ("", "")
    snapshot.append(" wor", TextSource.ANSWER)
    assert snapshot.take() == ("", "")
    snapshot.append("ld, again", TextSource.ANSWER)
    assert snapshot.end() == ("", ", again")
    assert snapshot.rewrites == 0


def test_text_cut_off_and_continued_otherwise_is_a_rewrite() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("Hello world", TextSource.ANSWER)
    snapshot.take()
    snapshot.edit(5, "")
    snapshot.append(" wide", TextSource.ANSWER)
    assert snapshot.take() == ("", "ide")
    assert snapshot.rewrites == 1


def test_text_cut_off_for_good_is_a_rewrite() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append("Hello world", TextSource.ANSWER)
    snapshot.take()
    snapshot.replace("Hello")
    assert snapshot.end() == ("", "")
    assert snapshot.rewrites == 1


def test_end_of_reasoning_is_held_back_until_it_is_sure() -> None:
    snapshot = Snapshot("reasoning")
    snapshot.append(OPEN + "> " + "r" * 100, TextSource.THINKING)
    assert snapshot.take() == ("r" * (100 - REASONING_HOLD_CHARS), "")
    snapshot.append("\n</details>\na", TextSource.ANSWER)
    assert snapshot.take() == ("r" * REASONING_HOLD_CHARS, "a")


def test_append_costs_its_own_length() -> None:
    snapshot = Snapshot("reasoning")
    for _ in range(1000):
        snapshot.append("x" * 1000, TextSource.ANSWER)
        snapshot.take()
    tracemalloc.start()
    try:
        for _ in range(20):
            snapshot.append("y" * 10, TextSource.ANSWER)
            snapshot.take()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The message has a million characters: one copy of it would show.
    assert peak < 50_000
    assert snapshot.reparses == 0


@pytest.mark.parametrize("hold", [0, 1, 2, 3, 9])
def test_channel_takes_all_but_the_held_end(hold: int) -> None:
    channel = Channel()
    channel.append("ab")
    channel.append("c")
    first = channel.take(hold)
    assert first == "abc"[: max(3 - hold, 0)]
    assert first + channel.take() == "abc"
    assert channel.take() == ""


_TEXT = st.text(st.sampled_from("ab \n<>\u00e9\U0001f600"), max_size=12)
_MARKS = st.sampled_from(
    [BLOCK, OPEN, "\n</details>\n", "> ", "<glm_block>", "</glm_block>", "</thinking>", "<Full>", "\n> "]
)
_PIECE = st.one_of(_TEXT, _MARKS)
_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), _PIECE, st.just(0)),
        st.tuples(st.sampled_from(["edit", "replace"]), _PIECE, st.integers(0, 80)),
    ),
    max_size=12,
)


def cut16(text: str, index: int) -> str:
    """The reference for an index: whole characters as long as they fit."""
    kept = ""
    for character in text:
        index -= 2 if ord(character) > 0xFFFF else 1
        if index < 0:
            break
        kept += character
    return kept


@given(_EDITS, st.sampled_from(["strip", "think", "raw", "reasoning"]))
def test_edits_end_in_the_final_message(edits: list[tuple[str, str, int]], mode: ThinkMode) -> None:
    snapshot = Snapshot(mode)
    message = ""
    taken: list[tuple[str, str]] = []
    for what, text, index in edits:
        if what == "append":
            message += text
            snapshot.append(text, TextSource.EDIT)
        elif what == "edit":
            message = cut16(message, index) + text
            snapshot.edit(index, text)
        else:
            message = text
            snapshot.replace(text)
        taken.append(snapshot.take())
    taken.append(snapshot.end())
    if not snapshot.rewrites:
        sent = "".join(reasoning for reasoning, _ in taken), "".join(content for _, content in taken)
        assert sent == (split(message, mode) if message else ("", ""))


@given(st.lists(_PIECE, max_size=8).map("".join), st.sampled_from(["strip", "think", "raw", "reasoning"]), st.data())
def test_pieces_of_any_size_give_the_same(message: str, mode: ThinkMode, data: st.DataObject) -> None:
    pieces: list[str] = []
    rest = message
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert split_pieces(pieces, mode) == (split(message, mode) if message else ("", ""))
