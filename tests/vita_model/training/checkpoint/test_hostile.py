"""Checkpoints of strangers: each defect is a line, before anything is built from it."""

import hashlib
import json
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vita_data.errors import VitaDataError
from vita_data.types import Stage
from vita_model.network.configs import Component
from vita_model.policy.policy import VitaPolicy
from vita_model.training.checkpoint.components import (
    TrainerState,
    load_averages,
    load_components,
    load_moments,
    load_trainer,
    save,
)
from vita_model.training.checkpoint.init_from import init_from
from vita_model.training.checkpoint.run_folder import latest
from vita_model.training.checkpoint.state import Progress, load_progress
from vita_model.training.recipes.recipe import as_json

COLUMNS = {"action": 40, "state": 64}
LIBERO = {
    "position_scale_m": 0.05, "rotation_scale_rad": 0.5, "turn": "axis-angle", "gripper_open": -1, "gripper_closed": 1,
    "limit": 1.0, "flip": "rot180",
}  # fmt: skip


def scales(size: int) -> dict[str, Any]:
    return {"mean": [0.0] * size, "q01": [-1.0] * size, "q99": [1.0] * size, "mask": [True] * size}


@pytest.fixture
def checkpoint(tmp_path: Path, model, make_recipe) -> Path:
    progress = Progress(
        step=3,
        stage=str(Stage.FINETUNE),
        recipe=as_json(make_recipe(Stage.FINETUNE)),
        sampler={"fields": {"windows": {"views": ["primary"], "horizon": 12}}},
        statistics={"libero": {"source": {"libero": {name: scales(size) for name, size in COLUMNS.items()}}}},
        drawn={"paired": {"libero": 8}},
        features=model.features.identity,
        conventions={"libero": LIBERO},
        resizes={"libero": "plain"},
    )
    trainer = TrainerState(torch_rng=torch.get_rng_state(), draw_rng=torch.get_rng_state())
    return save(tmp_path / "run", model, trainer, progress, keep_last=None)


def test_the_checkpoint_that_the_others_are_made_of_is_a_policy(checkpoint: Path) -> None:
    assert VitaPolicy.from_pretrained(checkpoint).signature.horizon == 12


DEEP = "[" * 100_000 + "]" * 100_000
STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a list": lambda state: [],
    "no step": lambda state: state.pop("step"),
    "a negative step": lambda state: state.update(step=-1),
    "an endless step": lambda state: state.update(step=10**400),
    "a step as text": lambda state: state.update(step="3"),
    "an unknown stage": lambda state: state.update(stage="\x1b[2J"),
    "a stage that is a list": lambda state: state.update(stage=["finetune"]),
    "another version": lambda state: state.update(schema_version={"x": ["y" * 10_000]}),
    "an unknown field": lambda state: state.update(extra=1),
    "no sums": lambda state: state.pop("sha256"),
    "sums as a list": lambda state: state.update(sha256=[]),
    "a sum outside": lambda state: state["sha256"].update({"../../etc/passwd": "0" * 64}),
    "a sum that is none": lambda state: state["sha256"].update({"codebook.safetensors": 5}),
    "features as a number": lambda state: state.update(features=5),
    "a recipe as a list": lambda state: state.update(recipe=[1]),
    "a model as a text": lambda state: state["recipe"].update(model="x"),
    "statistics as a list": lambda state: state.update(statistics=[]),
    "statistics of a source as a text": lambda state: state["statistics"].update(libero="x"),
    "counts as texts": lambda state: state["drawn"].update(paired={"libero": "8"}),
    "an unknown resize": lambda state: state["resizes"].update(libero="stretched"),
    "changes as a number": lambda state: state.update(changes=3),
    "a change of nothing": lambda state: state.update(changes=[{}]),
    "conventions as a text": lambda state: state.update(conventions="x"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_form_is_refused_when_it_is_read(checkpoint: Path, name: str) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    changed = STATES[name](state)
    (checkpoint / "state.json").write_text(json.dumps(changed if isinstance(changed, list) and not changed else state))
    with pytest.raises(VitaDataError, match=r"state\.json") as told:
        load_progress(checkpoint)
    assert len(str(told.value)) < 600


@pytest.mark.parametrize("text", [DEEP, '{"step": NaN}', "9" * 5000, "", "\xff", '{"a": 1e999}', "null"])
def test_a_text_that_is_no_state_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(VitaDataError, match=r"state\.json"):
        load_progress(checkpoint)


def windows(state: dict[str, Any]) -> dict[str, Any]:
    return state["sampler"]["fields"]["windows"]


def model_of(state: dict[str, Any]) -> dict[str, Any]:
    return state["recipe"]["model"]


def actions(state: dict[str, Any]) -> dict[str, Any]:
    return state["statistics"]["libero"]["source"]["libero"]["action"]


POLICIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no model": lambda state: state["recipe"].pop("model"),
    "a part of the model as a list": lambda state: model_of(state).update(backbone=[]),
    "no windows": lambda state: state["sampler"].pop("fields"),
    "an unknown view": lambda state: windows(state).update(views=["above"]),
    "views as a number": lambda state: windows(state).update(views=3),
    "a horizon of a billion": lambda state: windows(state).update(horizon=10**9),
    "a horizon as a text": lambda state: windows(state).update(horizon="12"),
    "an interval of nothing": lambda state: windows(state).update(frame_interval_s=0),
    "no sources": lambda state: state.update(statistics={}),
    "statistics of nothing": lambda state: state["statistics"].update(libero={}),
    "statistics of ten columns": lambda state: actions(state).update(q01=[0.0] * 10),
    "statistics in words": lambda state: actions(state).update(q99=["x"] * 40),
    "a mask of numbers": lambda state: actions(state).update(mask=[1] * 40),
    "a scale of zero": lambda state: state["conventions"]["libero"].update(position_scale_m=0),
    "an unknown flip": lambda state: state["conventions"]["libero"].update(flip="inside-out"),
    "a convention without a limit": lambda state: state["conventions"]["libero"].pop("limit"),
    "a convention with more": lambda state: state["conventions"]["libero"].update(extra=1),
    "a width of a billion": lambda state: model_of(state)["codebook"].update(width=1 << 30),
    "codes of 256 GB": lambda state: model_of(state)["codebook"].update(num_codes=1 << 24, width=4096),
    "a backbone of 256 GB": lambda state: model_of(state)["backbone"]["language"].update(ffn_width=1 << 24),
    "a billion layers": lambda state: model_of(state)["action_decoder"]["blocks"].update(num_layers=1 << 30),
    "a text of a million tokens": lambda state: model_of(state)["backbone"].update(max_text_tokens=1 << 20),
    "heads that do not divide": lambda state: model_of(state)["action_decoder"]["blocks"].update(num_heads=7),
    "a negative width": lambda state: model_of(state)["codebook"].update(width=-1),
    "an unknown part": lambda state: model_of(state).update(extra={}),
    "a width in words": lambda state: model_of(state)["codebook"].update(width="wide"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_of_another_form_is_refused_before_it_is_built(checkpoint: Path, name: str) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    POLICIES[name](state)
    (checkpoint / "state.json").write_text(json.dumps(state))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VitaDataError, match=checkpoint.name) as told:
        VitaPolicy.from_pretrained(checkpoint)
    assert len(str(told.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def replaced(checkpoint: Path, file: str, write: Callable[[Path], object]) -> None:
    """Replace a file and its sum: a stranger's sums fit a stranger's files."""
    (checkpoint / file).unlink()
    write(checkpoint / file)
    state = json.loads((checkpoint / "state.json").read_text())
    state["sha256"][file] = hashlib.sha256((checkpoint / file).read_bytes()).hexdigest()
    (checkpoint / "state.json").write_text(json.dumps(state))


def test_weights_of_another_form_are_refused(checkpoint: Path, model) -> None:
    for write in (
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_bytes((10**18).to_bytes(8, "little")),
        lambda path: save_file({"codes": torch.zeros(2, 2)}, path),
    ):
        replaced(checkpoint, "codebook.safetensors", write)
        with pytest.raises(VitaDataError, match=r"codebook\.safetensors"):
            load_components(checkpoint, model)


def test_weights_of_the_right_shapes_in_an_unknown_format_are_refused(checkpoint: Path, model) -> None:
    wrong = {name: torch.zeros(value.shape, dtype=torch.int16) for name, value in model.codebook.state_dict().items()}
    replaced(checkpoint, "codebook.safetensors", lambda path: save_file(wrong, path))
    with pytest.raises(VitaDataError, match=r"codebook\.safetensors cannot be read"):
        load_components(checkpoint, model)


def moments(model, *, shape: tuple[int, ...] | None = None) -> dict[str, torch.Tensor]:
    name, parameter = next((name, value) for name, value in model.named_parameters() if value.requires_grad)
    return {f"exp_avg/{name}": torch.zeros(parameter.shape if shape is None else shape)}


MOMENTS: dict[str, Callable[[Any, Path], object]] = {
    "no header": lambda model, path: path.write_bytes(b"\xff" * 100),
    "an empty file": lambda model, path: path.write_bytes(b""),
    "an unknown parameter": lambda model, path: save_file({"exp_avg/nothing": torch.zeros(2)}, path),
    "a name without a parameter": lambda model, path: save_file({"x": torch.zeros(2)}, path),
    "another shape": lambda model, path: save_file(moments(model, shape=(3, 1, 2)), path),
    "places that are no JSON": lambda model, path: save_file(moments(model), path, metadata={"offsets": "{"}),
    "sizes in words": lambda model, path: save_file(
        moments(model), path, metadata={"sizes": json.dumps({name: ["x"] for name in moments(model)})}
    ),
    "sizes without end": lambda model, path: save_file(
        moments(model), path, metadata={"sizes": json.dumps({name: [1 << 62] for name in moments(model)})}
    ),
    "half of the rows": lambda model, path: save_file(
        {name: value[: len(value) // 2] for name, value in moments(model).items()},
        path,
        metadata={"sizes": json.dumps({name: list(value.shape) for name, value in moments(model).items()})},
    ),
    "places before the start": lambda model, path: save_file(
        moments(model), path, metadata={"offsets": json.dumps({name: [-5, -5] for name in moments(model)})}
    ),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_an_optimizer_s_state_of_another_form_is_refused(checkpoint: Path, model, name: str) -> None:
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad])
    file = "optimizer-00000-of-00001.safetensors"
    (checkpoint / file).touch()
    replaced(checkpoint, file, lambda path: MOMENTS[name](model, path))
    with pytest.raises(VitaDataError, match=r"optimizer-.*cannot be read") as told:
        load_moments(checkpoint, optimizer, model)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "saved",
    [
        [],
        {"optimizer": 5, "torch_rng": 1, "draw_rng": 2},
        {"optimizer": {}, "torch_rng": torch.zeros(4), "draw_rng": 1},
    ],
)
def test_a_trainer_s_state_of_another_form_is_refused(checkpoint: Path, saved: object) -> None:
    replaced(checkpoint, "trainer.pt", lambda path: torch.save(saved, path))
    with pytest.raises(VitaDataError, match=r"trainer\.pt"):
        load_trainer(checkpoint)


def test_averages_that_are_none_are_refused(checkpoint: Path) -> None:
    (checkpoint / "averages.safetensors").touch()
    replaced(checkpoint, "averages.safetensors", lambda path: path.write_bytes(b"\0" * 20))
    with pytest.raises(VitaDataError, match=r"averages\.safetensors"):
        load_averages(checkpoint, {"a": torch.zeros(2)})


def test_a_pipe_is_not_waited_for(checkpoint: Path, model) -> None:
    (checkpoint / "trainer.pt").unlink()
    os.mkfifo(checkpoint / "trainer.pt")
    with pytest.raises(VitaDataError, match="expected a file"):
        load_trainer(checkpoint)
    (checkpoint / "state.json").unlink()
    os.mkfifo(checkpoint / "state.json")
    with pytest.raises(VitaDataError, match="expected a file"):
        load_progress(checkpoint)


def test_a_stage_does_not_start_from_a_run_of_another_form(checkpoint: Path, model) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    state["recipe"]["model"]["cot"] = {"unknown": 1}
    (checkpoint / "state.json").write_text(json.dumps(state))
    with pytest.raises(VitaDataError):
        init_from(checkpoint.parents[1], model, frozenset({Component.BACKBONE}))
    assert latest(checkpoint.parents[1]) == checkpoint
    assert replace(load_progress(checkpoint), step=4).step == 4
