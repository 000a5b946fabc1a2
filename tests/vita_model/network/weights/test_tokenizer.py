import pytest

from tests.vita_model.released import write_tokenizer
from vita_data.errors import RequestError
from vita_model.network.weights.tokenizer import ByteTokenizer, WordPieceTokenizer


@pytest.fixture
def made(tmp_path):
    """The file of a tokenizer, and the tokenizer that wrote it."""
    path = tmp_path / "tokenizer.json"
    return path, write_tokenizer(path)


def pieces(made, max_tokens=12):
    return WordPieceTokenizer(made[0].read_bytes(), max_tokens=max_tokens)


def test_bytes_are_wrapped_in_bos_and_newline_and_padded():
    tokens = ByteTokenizer(max_tokens=6).encode(["hi", ""])

    assert tokens.ids.tolist() == [[2, 107, 108, 13, 0, 0], [2, 13, 0, 0, 0, 0]]
    assert tokens.mask.sum(dim=1).tolist() == [4, 2]


def test_long_text_is_cut_but_keeps_its_newline():
    tokens = ByteTokenizer(max_tokens=5).encode(["abcdefgh"])
    assert tokens.ids.tolist() == [[2, 100, 101, 102, 13]]


def test_word_pieces_are_framed_as_paligemmas_prompts_are(made):
    text = "open the drawer"
    tokens = pieces(made).encode([text, ""])
    whole = made[1].encode(f"<bos>{text}\n", add_special_tokens=False).ids
    bos, newline = made[1].token_to_id("<bos>"), made[1].token_to_id("\n")

    assert tokens.ids[0].tolist() == whole + [0] * (12 - len(whole))
    assert tokens.ids[1].tolist() == [bos, newline] + [0] * 10
    assert tokens.mask.sum(dim=1).tolist() == [len(whole), 2]
    assert 4 < len(whole) < 12


def test_long_text_of_word_pieces_is_cut_before_its_newline(made):
    whole, newline = pieces(made, 40).encode(["open the drawer"]).ids[0], made[1].token_to_id("\n")
    cut = pieces(made, 4).encode(["open the drawer"]).ids[0]
    assert cut.tolist() == [*whole[:3].tolist(), newline]


def test_special_tokens_in_an_instruction_are_plain_text(made):
    found = pieces(made, 40).encode(["open <eos> <bos>"]).ids[0].tolist()
    assert made[1].token_to_id("<eos>") not in found
    assert found.count(made[1].token_to_id("<bos>")) == 1


def test_the_padding_and_cutting_that_a_file_asks_for_do_not_count(made):
    plain = pieces(made).encode(["lift the lid", "a"]).ids
    made[1].enable_padding(length=30, pad_id=5)
    made[1].enable_truncation(2)
    made[1].save(str(made[0]))
    assert pieces(made).encode(["lift the lid", "a"]).ids.tolist() == plain.tolist()


def test_a_tokenizer_without_frame_is_refused(made, tmp_path):
    made[0].write_text(made[0].read_text().replace("<bos>", "<s>"))
    with pytest.raises(RequestError, match=r"has no token '<bos>'"):
        pieces(made)
