"""Peers: an environment that is not there, one that is broken, and (VITA_PEERS=DIR) one that is whole."""

import os
from pathlib import Path

import pytest

from pipelines.bench.build.workload import Workload
from pipelines.bench.loader.contestants import (
    HINT,
    Absent,
    Contestant,
    ContestantError,
    built_in,
    peers,
    run_turn,
)
from pipelines.bench.loader.drive import TurnSpec
from pipelines.bench.loader.sizes import QUICK

_SPEC = TurnSpec(workers=1, batch_size=4, num_warm=1, num_batches=2)


def test_without_an_environment_all_peers_are_absent(clips: Workload, tmp_path: Path) -> None:
    found = peers(tmp_path, clips, QUICK, tmp_path / "nowhere")

    assert len(found) == 5
    assert all(isinstance(one, Absent) and HINT in one.why for one in found)


def test_a_peer_that_cannot_export_is_absent_with_the_reason(clips: Workload, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'ImportError: no such peer' >&2\nexit 1\n")
    python.chmod(0o755)

    found = peers(tmp_path, clips, QUICK, tmp_path)

    assert [one.why for one in found if isinstance(one, Absent)] == ["ImportError: no such peer"] * 5


def test_a_turn_runs_in_a_new_process(clips: Workload) -> None:
    limit = built_in(clips, QUICK)[0]

    turn = run_turn(limit, pairs=clips.raw / "pairs", spec=_SPEC)

    assert turn.num_samples == 8


def test_a_turn_that_fails_says_why(clips: Workload, tmp_path: Path) -> None:
    limit = built_in(clips, QUICK)[0]

    with pytest.raises(ContestantError, match="FileNotFoundError"):
        run_turn(limit, pairs=tmp_path, spec=_SPEC)


@pytest.mark.slow
@pytest.mark.skipif("VITA_PEERS" not in os.environ, reason="VITA_PEERS names no environment with peers")
def test_every_peer_loads_the_same_pairs(clips: Workload, tmp_path: Path) -> None:
    found = peers(tmp_path, clips, QUICK, Path(os.environ["VITA_PEERS"]).absolute())

    assert [one for one in found if isinstance(one, Absent)] == []
    for peer in found:
        assert isinstance(peer, Contestant)
        for workers in peer.workers:
            spec = TurnSpec(workers=workers, batch_size=4, num_warm=1, num_batches=2)
            assert run_turn(peer, pairs=clips.raw / "pairs", spec=spec).num_samples == 8
