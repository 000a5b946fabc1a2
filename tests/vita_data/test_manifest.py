"""Every fault of a manifest is one line that names file, table, key and what was found."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vita_data.errors import ManifestError, StorageError
from vita_data.manifest import load_manifest
from vita_data.types import Basis, Split

HEAD = 'name = "m"\nschema_version = 1\n'
ONE = '[[sources]]\nsource = "bridge"\nweight = 1\n'


def load(tmp_path: Path, text: str):
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    return load_manifest(path)


def test_all_fields_are_read(tmp_path: Path) -> None:
    manifest = load(tmp_path, HEAD + 'basis = "frames"\ntemperature = 2\nmax_repeats_per_100k_steps = 3.5\n' + ONE + (
        'split = "val"\nnote = "why"\nwhere = {suite = "one", task = "two"}\nfraction = 0.1\n'
    ))  # fmt: skip
    (entry,) = manifest.entries

    assert (manifest.name, manifest.basis, manifest.temperature) == ("m", Basis.FRAMES, 2.0)
    assert manifest.max_repeats_per_100k_steps == 3.5
    assert (entry.source, entry.weight, entry.split, entry.note) == ("bridge", 1.0, Split.VAL, "why")
    assert (entry.where, entry.fraction) == ({"suite": "one", "task": "two"}, 0.1)


def test_the_least_manifest_has_the_defaults(tmp_path: Path) -> None:
    manifest = load(tmp_path, HEAD + ONE)

    assert (manifest.basis, manifest.temperature, manifest.max_repeats_per_100k_steps) == (Basis.WEIGHT, 1.0, None)
    (entry,) = manifest.entries
    assert (entry.split, entry.where, entry.fraction) == (Split.TRAIN, {}, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not valid TOML"),
        ("name = " + "[" * 100_000, r"is not valid TOML \(nested too deeply\)"),
        ("schema_version = " + "9" * 10_000, "is not valid TOML"),
        ('schema_version = 1\n' + ONE, r"`name` must be a non-empty text; found nothing"),
        ('name = "a/b"\nschema_version = 1\n' + ONE, r"`name` must be .* found 'a/b'"),
        ('name = "m"\n' + ONE, r"`schema_version` must be 1, .* found nothing"),
        ('name = "m"\nschema_version = 2\n' + ONE, r"`schema_version` must be 1, .* found 2"),
        ('name = "m"\nschema_version = true\n' + ONE, r"`schema_version` must be 1, .* found True"),
        (HEAD, r"`sources` must be at least one"),
        (HEAD + "sources = 3\n", r"`sources` must be at least one \[\[sources\]\] table; found 3"),
        (HEAD + "sources = [3]\n", r"`sources` must be \[\[sources\]\] tables"),
        (HEAD + 'basis = "clips"\n' + ONE, r"`basis` must be one of weight, frames, windows; found 'clips'"),
        (HEAD + "temprature = 2\n" + ONE, r"unknown key `temprature`; did you mean `temperature`"),
        (HEAD + "temperature = 0\n" + ONE, r"`temperature` must be a finite number above 0; found 0"),
        (HEAD + "max_repeats_per_100k_steps = inf\n" + ONE, r"`max_repeats_per_100k_steps` must be a finite number"),
        (HEAD + ONE + "wieght = 2\n", r"table 1: unknown key `wieght`; did you mean `weight`"),
        (HEAD + ONE + 'x = "y"\n', r"unknown key `x`; expected one of: source, weight"),
        (HEAD + '[[sources]]\nsource = "bridge"\n', r"table 1: `weight` must be .*; found nothing"),
        (HEAD + '[[sources]]\nsource = "bridge"\nweight = -1\n', r"`weight` must be .*; found -1"),
        (HEAD + '[[sources]]\nsource = "bridge"\nweight = nan\n', r"`weight` must be .*; found nan"),
        (HEAD + '[[sources]]\nsource = "bridge"\nweight = true\n', r"`weight` must be .*; found True"),
        (HEAD + '[[sources]]\nsource = "bridge"\nweight = "1"\n', r"`weight` must be .*; found '1'"),
        (HEAD + "[[sources]]\nweight = 1\n", r"table 1: `source` must be a non-empty text"),
        (HEAD + '[[sources]]\nsource = "../x"\nweight = 1\n', r"`source` must be the name of a source"),
        (HEAD + ONE + 'split = "test"\n', r"`split` must be one of train, val; found 'test'"),
        (HEAD + ONE + "note = 1\n", r"`note` must be a text; found 1"),
        (HEAD + ONE + "fraction = 1.5\n", r"`fraction` must be a finite number above 0 and at most 1; found 1.5"),
        (HEAD + ONE + 'where = 1\n', r"`where` must be a table such as .* or a condition such as .*; found 1"),
        (HEAD + ONE + 'where = " "\n', r"`where` must be a non-empty text; found ' '"),
        (HEAD + ONE + 'exclude = ["a"]\n', r"`exclude` must be a non-empty text"),
        (HEAD + ONE + 'exclude = ""\n', r"`exclude` must be a non-empty text"),
        (HEAD + (ONE + 'where = "hz > 1"\n') * 2, r"table 2: .* and where hz > 1 is already in table 1"),
        (HEAD + ONE + 'where = {sute = "x"}\n', r"table 1, where: unknown key `sute`; did you mean `suite`"),
        (HEAD + ONE + "where = {task = 1}\n", r"table 1, where: `task` must be a non-empty text"),
        (HEAD + ONE + ONE, r"table 2: source 'bridge' with split train .* is already in table 1"),
    ],
)  # fmt: skip
def test_every_fault_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as error:
        load(tmp_path, text)
    assert "m.toml" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_a_missing_or_unreadable_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.toml: the file does not exist"):
        load_manifest(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"\n')
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path / "latin.toml")


def test_a_condition_and_a_list_of_ids_beside_the_manifest_are_read(tmp_path: Path) -> None:
    (entry,) = load(tmp_path, HEAD + ONE + 'where = "length_s > 3"\nexclude = "lists/bad.txt"\n').entries
    (other,) = load(tmp_path, HEAD + ONE + 'exclude = "/lists/bad.txt"\n').entries

    assert (entry.condition, entry.where, entry.exclude) == ("length_s > 3", {}, str(tmp_path / "lists" / "bad.txt"))
    assert (other.condition, other.exclude) == ("", "/lists/bad.txt")


def test_a_source_may_come_twice_with_another_split_or_where(tmp_path: Path) -> None:
    text = HEAD + ONE + ONE + 'split = "val"\n' + ONE + 'where = {task = "a"}\n'

    assert len(load(tmp_path, text).entries) == 3


@given(weights=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=14))
def test_weights_are_kept_as_written(tmp_path_factory: pytest.TempPathFactory, weights: list[float]) -> None:
    tables = [f'[[sources]]\nsource = "s{number}"\nweight = {weight!r}\n' for number, weight in enumerate(weights)]
    manifest = load(tmp_path_factory.mktemp("m"), HEAD + "".join(tables))

    assert [entry.weight for entry in manifest.entries] == weights


def test_a_manifest_that_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(StorageError, match="expected a file, found a named pipe"):
        load_manifest(tmp_path / "pipe.toml")
    (tmp_path / "hole.toml").touch()
    os.truncate(tmp_path / "hole.toml", 1 << 42)
    with pytest.raises(StorageError, match="expected at most 67108864 bytes, found more; replace it"):
        load_manifest(tmp_path / "hole.toml")
