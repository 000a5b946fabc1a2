from vita_model.tokenizer import ByteTokenizer


def test_bytes_are_wrapped_in_bos_and_newline_and_padded():
    tokens = ByteTokenizer(max_tokens=6).encode(["hi", ""])

    assert tokens.ids.tolist() == [[2, 107, 108, 13, 0, 0], [2, 13, 0, 0, 0, 0]]
    assert tokens.mask.sum(dim=1).tolist() == [4, 2]


def test_long_text_is_cut_but_keeps_its_newline():
    tokens = ByteTokenizer(max_tokens=5).encode(["abcdefgh"])
    assert tokens.ids.tolist() == [[2, 100, 101, 102, 13]]
