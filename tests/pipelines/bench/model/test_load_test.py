"""What a server bears: the arithmetic of the report and both clients; no assertion on seconds."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.bench.model import clients
from pipelines.bench.model.cli import serve as main
from pipelines.bench.model.load_test import Figures
from pipelines.bench.model.random_policy import write_random_policy
from pipelines.bench.model.server_process import served
from vita_data.errors import VitaDataError
from vita_data.types import CameraRole
from vita_model.training.recipes.presets import PRESETS

GOOD = {"observation/image": np.full((8, 8, 3), 10, np.uint8), "prompt": "push"}


@pytest.mark.filterwarnings("ignore:connect")
def test_a_served_policy_answers_as_the_same_one_in_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "load.json"

    assert main(["--clients", "1", "3", "--requests", "7", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    rows = [(row["num_clients"], row["max_batch"]) for row in report["rows"]]
    assert rows == [(1, 1), (1, 8), (3, 1), (3, 8)]
    assert report["largest_difference"] < 1e-4
    for row in report["rows"]:
        figures = row["figures"]
        assert 0 < figures["policy_ms"] < figures["p99_ms"]
        assert figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
        assert row["ratio"] == pytest.approx(figures["requests_per_s"] / report["in_process"]["requests_per_s"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| clients", "| in process", "| 1", "| 1", "| 3", "| 3",
    ]  # fmt: skip


def test_figures_are_of_all_answers_and_of_the_time_that_all_took() -> None:
    figures = Figures.of([0.001 * number for number in range(1, 102)], [0.01, 0.03, 0.02], 2.0)
    assert figures.requests_per_s == 50.5
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == pytest.approx((51, 96, 100))
    assert figures.policy_ms == pytest.approx(20)


@pytest.mark.filterwarnings("ignore:connect")
@pytest.mark.parametrize("name", ["openpi-client 0.1.2", "vita-eval's client"])
def test_both_clients_give_the_answer_or_the_error_in_a_line(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.startswith("openpi"):
        pytest.importorskip("openpi_client", reason="openpi-client is not installed")
    monkeypatch.setattr(clients, "client_name", lambda: name)

    with clients.connected(serve()) as ask:
        assert np.all(ask(GOOD)["actions"] == 10)
        with pytest.raises(VitaDataError, match=r"^[^\n]*a request needs observation/image$"):
            ask({"prompt": "push"})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--preset", "tyni"], "--preset tyni: expected one of tiny, quarter, full"),
        (["--clients", "0"], "--clients 0: expected numbers from 1 to 32"),
        (["--clients", "4", "33"], "--clients 4 33: expected numbers from 1 to 32"),
        (["--clients", "4", "--requests", "3"], "--requests 3: expected at least one per client (4)"),
        (["--max-batch", "1", "0"], "--max-batch 1 0: expected numbers of at least 1"),
        (["--requests", "many"], "argument --requests: invalid int value: 'many'"),
        (["--clinets", "4"], "unknown option --clinets; did you mean --clients?"),
        (["--preset", "tiny", "--policy", "x"], "not allowed with argument"),
        (["--policy", "nowhere"], "nowhere: expected a checkpoint (state.json)"),
        (["--out", "nowhere/load.json"], "folder nowhere not found"),
    ],
)
def test_a_mistake_is_one_line(asked: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(asked)
    except SystemExit as ended:
        code = ended.code

    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith("vita-bench serve: ")
    assert told in captured.err
    assert captured.err.count("\n") == 1


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(
            VitaDataError, match=r"code 2 before it was ready: vita-serve: .*: expected a checkpoint \(state"
        ),
        served(tmp_path, device="cpu"),
    ):
        pass


def test_a_server_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    write_random_policy(tmp_path, PRESETS["tiny"](), views=(CameraRole.PRIMARY,))
    with pytest.raises(KeyboardInterrupt), served(tmp_path, device="cpu") as port:
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
