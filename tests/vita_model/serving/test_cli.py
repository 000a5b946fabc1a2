"""`vita-serve` as a process: a checkpoint behind a port, ended by SIGTERM; typos in a line."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import msgpack
import numpy as np
import pytest
import torch

from vita_data.types import Stage
from vita_model.policy.openpi import pack, read_request
from vita_model.policy.policy import VitaPolicy
from vita_model.serving.cli import main
from vita_model.serving.server import PolicyServer
from vita_model.training.checkpoint.components import TrainerState, save
from vita_model.training.checkpoint.state import Progress
from vita_model.training.recipes.recipe import as_json

from .envelopes import recorded

LIBERO = {
    "position_scale_m": 0.05, "rotation_scale_rad": 0.5, "turn": "axis-angle", "gripper_open": -1, "gripper_closed": 1,
    "limit": 1.0, "flip": "rot180",
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, toy_shards: Path, model, make_recipe) -> Path:
    """A run whose weights are random, as fine-tuning would have left it."""
    windows = {"views": ["primary", "wrist_right"], "horizon": 12}
    progress = Progress(
        step=3,
        stage=str(Stage.FINETUNE),
        recipe=as_json(make_recipe(Stage.FINETUNE)),
        sampler={"fields": {"windows": windows}},
        statistics={"libero": json.loads((toy_shards / "libero" / "stats.json").read_text())},
        drawn={},
        features=model.features.identity,
        conventions={"libero": LIBERO},
    )
    state = TrainerState(torch_rng=torch.get_rng_state(), draw_rng=torch.get_rng_state())
    save(tmp_path / "run", model, state, progress, keep_last=None)
    return tmp_path / "run"


def test_a_run_is_served_until_sigterm(run: Path) -> None:
    command = [sys.executable, "-m", "vita_model.serving.cli", str(run), "--port", "0", "--convention", "libero"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            address = re.search(r"http://[\d.]+:\d+", line)[0]
            assert line.startswith(f"serving {run}, actions in convention libero: ws{address.removeprefix('http')} (")

            async def ask() -> tuple[dict, dict, dict]:
                async with aiohttp.ClientSession() as session, session.ws_connect(address) as ws:
                    metadata = read_request((await ws.receive()).data)
                    image = np.zeros((224, 224, 3), np.uint8)
                    state = np.zeros(8, np.float32)
                    request = {"observation/image": image, "observation/wrist_image": image, "prompt": "push"}
                    await ws.send_bytes(pack({**request, "observation/state": state}))
                    answer = read_request((await ws.receive(timeout=60)).data)
                    async with session.ws_connect(f"{address}/vla-eval") as harness:
                        await harness.send_bytes(recorded("observation"))
                        return metadata, answer, msgpack.unpackb((await harness.receive(timeout=60)).data)

            metadata, answer, action = asyncio.run(ask())
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert metadata["convention"] == "libero"
    assert answer["actions"].shape == (12, 7)
    assert (action["type"], action["payload"]["actions"]["shape"]) == ("action", [7])
    assert set(answer["actions"][:, 6].tolist()) <= {-1.0, 1.0}


def test_typos_are_a_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([str(tmp_path / "nothing")], "nothing: expected a checkpoint (state.json)"),
        (
            [str(run), "--convention", "libro"],
            "--convention libro: not in this checkpoint, which has: canonical, libero",
        ),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([str(run), "--port", "70000"])
    assert "expected a port from 0 to 65535, got '70000'" in capsys.readouterr().err


def test_a_compiled_policy_is_warm_before_it_is_served(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block, **options: None)
    monkeypatch.setattr(VitaPolicy, "warm_up", lambda policy: done.append("warm"))

    async def serve(server: PolicyServer, *given: object) -> None:
        done.append("served")

    monkeypatch.setattr(PolicyServer, "run", serve)
    assert main([str(run), "--compile"]) == 0
    assert done == ["warm", "served"]

    def interrupt(policy: VitaPolicy) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VitaPolicy, "warm_up", interrupt)
    assert main([str(run), "--compile"]) == 1
    assert capsys.readouterr().err == "vita-serve: interrupted before the server started\n"
