"""An evaluation that was interrupted goes on with the episodes that are over, and with nothing else."""

import json
from dataclasses import replace

import pytest

from vita_data.errors import RequestError, VitaDataError
from vita_model.policy.interfaces import PolicyInfo
from vita_model.sims.results.journal import Journal, Place, identity

SETTINGS = {"max_steps": 9, "policy": {"name": "run", "step": 3}}


class Runs:
    """Counts what is run; breaks at a number."""

    def __init__(self, breaks_at: int = -1) -> None:
        self.numbers: list[int] = []
        self.breaks_at = breaks_at

    def __call__(self, number: int) -> dict[str, object]:
        if number == self.breaks_at:
            raise VitaDataError("the server is gone")
        self.numbers.append(number)
        return {"length": number * number}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def interrupted(tmp_path, said) -> Place:
    place = Place(folder=tmp_path / "out", name="calvin")
    with pytest.raises(VitaDataError), Journal(place, SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(5), Runs(breaks_at=3)))
    return place


def resumed(place: Place) -> Place:
    return Place(folder=place.folder, name=place.name, resume=True)


def test_what_is_over_is_not_run_again(interrupted, said):
    runs = Runs()
    with Journal(resumed(interrupted), SETTINGS, said.append) as journal:
        rows = list(journal.rows("chains", range(5), runs))
    assert rows == [{"length": number * number} for number in range(5)]
    assert runs.numbers == [3, 4]
    assert said == [
        f"3 episodes are saved in {interrupted.episodes}; add --resume to continue",
        f"resuming after 3 episodes in {interrupted.episodes}",
    ]


def test_nothing_stays_of_an_evaluation_that_ended(tmp_path, said):
    place = Place(folder=tmp_path, name="calvin")
    for _ in range(2):
        runs = Runs()
        with Journal(place, SETTINGS, said.append) as journal:
            list(journal.rows("chains", range(2), runs))
        assert runs.numbers == [0, 1]
        assert list(tmp_path.iterdir()) == []


def test_nothing_stays_where_no_episode_ended(tmp_path, said):
    place = Place(folder=tmp_path, name="calvin")
    with pytest.raises(VitaDataError), Journal(place, SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(2), Runs(breaks_at=0)))
    assert (list(tmp_path.iterdir()), said) == ([], [])


def test_episodes_are_thrown_away_by_nobodys_oversight(interrupted, said):
    with pytest.raises(RequestError, match="3 episodes of an interrupted evaluation; add --resume"):
        Journal(interrupted, SETTINGS, said.append)
    assert len(interrupted.episodes.read_text().splitlines()) == 4


def test_other_settings_are_refused_by_name(interrupted, said):
    with pytest.raises(RequestError, match=r"max_steps was 9, now 7\)"):
        Journal(resumed(interrupted), {**SETTINGS, "max_steps": 7}, said.append)
    with pytest.raises(RequestError, match=r"policy was .*'step': 3.*, now .*'step': 4"):
        Journal(resumed(interrupted), {**SETTINGS, "policy": {"name": "run", "step": 4}}, said.append)


@pytest.mark.parametrize("torn", [b'{"group": "chains", "num', b"\x00\x00"])
def test_a_line_that_the_processs_end_cut_is_run_again(interrupted, said, torn):
    whole = interrupted.episodes.read_bytes()
    interrupted.episodes.write_bytes(whole + torn)
    with pytest.raises(VitaDataError), Journal(resumed(interrupted), SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(5), Runs(breaks_at=4)))
    rows = [json.loads(line) for line in interrupted.episodes.read_bytes().splitlines()]
    assert [row.get("number") for row in rows] == [None, 0, 1, 2, 3]


def test_what_was_not_asked_for_again_stays(interrupted, said):
    with Journal(resumed(interrupted), SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(2), Runs()))
    assert said[-1] == f"3 episodes are saved in {interrupted.episodes}; add --resume to continue"
    runs = Runs()
    with Journal(resumed(interrupted), SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(4), runs))
    assert runs.numbers == [3]
    assert not interrupted.episodes.exists()


def test_two_evaluations_at_once_are_refused(tmp_path, said):
    place = Place(folder=tmp_path, name="calvin", resume=True)
    with Journal(place, SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(1), Runs()))
        with pytest.raises(RequestError, match="another evaluation is running there"):
            Journal(place, SETTINGS, said.append)
        assert place.episodes.exists()


@pytest.mark.parametrize("left", [b"", b'{"max_st', b'{"max_steps": 3}\n'])
def test_one_that_ended_before_its_first_episode_begins_anew(tmp_path, said, left):
    place = Place(folder=tmp_path, name="calvin")
    place.episodes.write_bytes(left)
    with pytest.raises(VitaDataError), Journal(place, SETTINGS, said.append) as journal:
        list(journal.rows("chains", range(5), Runs(breaks_at=1)))
    assert json.loads(place.episodes.read_bytes().splitlines()[0]) == SETTINGS


def test_there_is_nothing_to_go_on_with_after_the_end(tmp_path):
    place = Place(folder=tmp_path, name="calvin", resume=True)
    assert not place.is_done
    place.result.write_text("{}")
    assert place.is_done
    place.episodes.write_text("{}\n")
    assert not place.is_done


def test_a_journal_that_is_none_is_refused(interrupted, said):
    for text in ("{}\nnonsense\n", "3\n", '{}\n{"group": 1}\n'):
        interrupted.episodes.write_text(text)
        with pytest.raises(RequestError, match=r"cannot be read .*; remove it"):
            Journal(resumed(interrupted), SETTINGS, said.append)


def test_a_server_may_come_back_at_another_address():
    one, two = (PolicyInfo(name=name, convention="libero", step=3) for name in ("ws://a:1", "ws://b:2"))
    assert identity(one) == identity(two)
    for other in ({"step": 4}, {"digest": "b"}, {"source": "fractal"}):
        assert identity(one) != identity(replace(one, **other))
    assert identity(PolicyInfo(name="runs/a", convention="x")) != identity(PolicyInfo(name="runs/b", convention="x"))
