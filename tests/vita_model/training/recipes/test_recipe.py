from dataclasses import fields, replace
from pathlib import Path

import pytest

from vita_data.errors import RequestError
from vita_data.loader import Damage, LoaderOptions, RemoteOptions
from vita_data.types import CameraRole, DrawOrder, Modality, Order, Stage, Starts, WindowSpec
from vita_model.network.configs import ActionContext, CodebookConfig, CodeUpdate, ModalityNorm
from vita_model.training.optim import learning_rate
from vita_model.training.recipes.load import find_manifest, load_recipe
from vita_model.training.recipes.override import override
from vita_model.training.recipes.recipe import (
    OptimizerConfig,
    Precision,
    Schedule,
    as_json,
    first_difference,
    resolved,
)


@pytest.fixture
def recipe(make_recipe):
    return make_recipe(Stage.WARMUP)


def test_settings_change_nested_fields_by_their_type(recipe):
    changed = override(
        recipe,
        [
            "optimizer.lr=1",
            "init=runs/a=b",
            "precision=bf16",
            "loss.paired_ssim=true",
            "model.codebook.modality_norm=none",
            "optimizer.betas=(0.8, 0.9)",
            "num_supervised_frames=none",
            'batch_size={"video": 4}',
            "order.kind=window",
            "order.num_shards=3",
            "loader.threads=4",
            "loader.damage=substitute",
            "loader.read_timeout_s=9",
            "loader.remote.cache=/cache",
        ],
    )

    assert changed.optimizer.lr == 1.0
    assert isinstance(changed.optimizer.lr, float)
    assert changed.init == "runs/a=b"
    assert changed.precision is Precision.BF16
    assert changed.loss.paired_ssim is True
    assert changed.model.codebook.modality_norm is ModalityNorm.NONE
    assert changed.optimizer.betas == (0.8, 0.9)
    assert changed.num_supervised_frames is None
    assert changed.batch_size == {"video": 4}
    assert changed.order == DrawOrder(kind=Order.WINDOW, num_shards=3)
    assert changed.loader == LoaderOptions(
        threads=4, damage=Damage.SUBSTITUTE, read_timeout_s=9.0, remote=RemoteOptions(cache="/cache")
    )
    assert recipe.optimizer.lr == 1e-3


def test_a_field_of_the_model_needs_no_model_in_front(recipe):
    short = override(recipe, ["visual.backbone=some/where", "codebook.num_codes=16"])

    assert short == override(recipe, ["model.visual.backbone=some/where", "model.codebook.num_codes=16"])
    assert short.model.visual.backbone == "some/where"
    # A word that both had would be the recipe's, and its twin in the model out of reach without `model.`.
    assert not {f.name for f in fields(recipe)} & {f.name for f in fields(recipe.model)}


def test_one_number_and_words_with_commas_make_tuples(recipe):
    windows = WindowSpec(starts=Starts.ROWS, horizon=5, futures=0)
    changed = override(replace(recipe, windows=windows), ["save_steps=500", "windows.views=primary,wrist_right"])
    assert changed.save_steps == (500,)
    assert changed.windows.views == (CameraRole.PRIMARY, CameraRole.WRIST_RIGHT)
    for text in ("primary,wrist", "('primary',)"):
        with pytest.raises(
            RequestError, match="expected one or more of primary, secondary, wrist_right, wrist_left, separated"
        ):
            override(changed, [f"windows.views={text}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.betas=0.9", "betas must be two numbers"),
        ("optimzer.lr=1", "did you mean 'optimizer'"),
        ("optimizer.lr=fast", "expected a value of type float, got 'fast'"),
        ("seed=1.5", "expected a value of type int, got '1.5'"),
        ("seed=true", "expected a value of type int, got 'true'"),
        ("stage=final", "one of warmup, cotrain, finetune"),
        ("seed", "expected KEY=VALUE"),
        ("seed.x=1", "'seed' is a single value without fields"),
        ("model=1", "expected a value of type VitaConfig"),
        ("visul.backbone=x", "Recipe has no field 'visul'; did you mean 'visual'"),
        ("visual.bakbone=x", "FeatureConfig has no field 'bakbone'; did you mean 'backbone'"),
        ("model.visul.backbone=x", "VitaConfig has no field 'visul'; did you mean 'visual'"),
        ("lr=1", "Recipe has no field 'lr'; did you mean optimizer.lr"),
        ("xyz=1", "Recipe has no field 'xyz'; fields: name, stage, manifest"),
    ],
)
def test_a_bad_setting_is_refused_with_what_to_write(recipe, setting, message):
    with pytest.raises(RequestError, match=message):
        override(recipe, [setting])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def recipe(): return 3", r"expected recipe\(\) to return a Recipe, got int"),
        ("x = 1", r"expected a function `recipe\(\)` that returns a Recipe, found none"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_recipe_file_that_fails_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        load_recipe(path)


FILE = """
from dataclasses import replace
from vita_data.types import Stage
from vita_model.training.recipes.presets import tiny
from vita_model.training.recipes.recipe import OptimizerConfig, Recipe

def recipe():
    given = dict(name="r", stage=Stage.WARMUP, manifest="m", num_steps=1, batch_size=1, model=tiny())
    return Recipe(**{**given, %s})
"""


@pytest.mark.parametrize(
    ("field", "message"),
    [
        # Words where a member is meant would pass for another member.
        ('"precision": "bf16"', r"precision must be Precision \(Precision.FP32, Precision.BF16\); found 'bf16'"),
        ('"parallel": "fsdp"', "parallel must be Parallel"),
        ('"stage": "warmup"', "stage must be Stage"),
        ('"optimizer": OptimizerConfig(schedule="constant")', "optimizer.schedule must be Schedule"),
        (
            '"model": replace(tiny(), codebook=replace(tiny().codebook, update="grad"))',
            "model.codebook.update must be CodeUpdate",
        ),
        ('"optimizer": {"lr": 1.0}', "optimizer must be OptimizerConfig; found {'lr': 1.0}"),
        ('"model": tiny', "model must be VitaConfig; found <function tiny"),
        ('"windows": 3', "windows must be .*WindowSpec"),
        ('"manifest": None', "manifest must be str; found None"),
        ('"init": 5', "init must be str"),
        ('"compile": "no"', "compile must be bool; found 'no'"),
        ('"name": exit(3)', "SystemExit: 3"),
    ],
)
def test_a_recipe_with_a_value_of_another_type_is_refused_naming_the_field(tmp_path, field, message):
    path = tmp_path / "mine.py"
    path.write_text(FILE % field)
    with pytest.raises(RequestError, match=message):
        load_recipe(path)


def test_a_recipe_may_give_lists_for_tuples_and_whole_numbers_for_others(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE % '"save_steps": [1, 2], "optimizer": OptimizerConfig(lr=1), "batch_size": {"video": 2}')
    assert load_recipe(path).save_steps == [1, 2]


@pytest.mark.parametrize("path", sorted(Path("pipelines/recipes").glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_here_has_values_of_its_fields_types(path):
    assert load_recipe(path).name


def test_an_absent_recipe_is_refused():
    with pytest.raises(RequestError, match=r"recipe nowhere\.py not found"):
        load_recipe(Path("nowhere.py"))


def test_the_manifest_is_found_from_the_recipes_own_folders(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "none.toml").touch()

    assert find_manifest(recipe, tmp_path / "a" / "b" / "r.py") == tmp_path / "a" / "none.toml"
    (tmp_path / "none.toml").touch()
    assert find_manifest(recipe, Path("a/b/r.py")) == Path("none.toml")


def test_paths_of_a_recipe_may_begin_with_the_home_folder(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    loader = LoaderOptions(remote=RemoteOptions(cache="~/cache"))
    visual = replace(recipe.model.visual, backbone="~/dino")
    asked = replace(recipe, manifest="~/m.toml", init="~/run", loader=loader)
    found = resolved(replace(asked, model=replace(recipe.model, visual=visual)))

    assert (found.manifest, found.init) == (f"{tmp_path}/m.toml", f"{tmp_path}/run")
    assert found.loader.remote.cache == str(tmp_path / "cache")
    assert found.model.visual.backbone == f"{tmp_path}/dino"
    assert resolved(found) == found


def test_an_absent_manifest_is_refused(recipe, tmp_path):
    with pytest.raises(RequestError, match="--set manifest=PATH"):
        find_manifest(recipe, tmp_path / "r.py")


def test_the_first_difference_of_two_recipes_is_named(recipe):
    other = override(recipe, ["optimizer.lr=0.5"])
    assert first_difference(as_json(recipe), as_json(recipe)) is None
    assert first_difference(as_json(recipe), as_json(other)) == "optimizer.lr was 0.001, now 0.5"


def test_the_learning_rate_ramps_then_stays_or_falls_to_a_tenth():
    constant = OptimizerConfig(lr=1.0, ramp_steps=4)
    cosine = OptimizerConfig(lr=1.0, ramp_steps=4, schedule=Schedule.COSINE, schedule_steps=104)

    assert [learning_rate(step, constant) for step in (0, 1, 3, 900)] == [0.25, 0.5, 1.0, 1.0]
    assert learning_rate(54, cosine) == pytest.approx(0.55)
    assert learning_rate(104, cosine) == learning_rate(9999, cosine) == pytest.approx(0.1)


def test_phases_of_the_codebook_follow_the_steps_of_a_run_where_the_recipe_leaves_them_open(make_recipe) -> None:
    warmup = replace(make_recipe(Stage.WARMUP), num_steps=900)
    warmup = replace(warmup, model=replace(warmup.model, codebook=CodebookConfig(num_codes=4, width=2)))
    found = resolved(warmup).model.codebook
    assert (found.continuous_updates, found.last_replacement) == (300, 720)
    found = resolved(replace(warmup, accumulate=2)).model.codebook
    assert (found.continuous_updates, found.last_replacement) == (600, 1440), "each micro-batch is an update"
    told = override(warmup, ["codebook.continuous_updates=0", "codebook.last_replacement=5"])
    told = resolved(told).model.codebook
    assert (told.continuous_updates, told.last_replacement) == (0, 5)
    assert resolved(replace(warmup, stage=Stage.COTRAIN)).model.codebook.continuous_updates is None


def test_warmup_asks_for_pairs_and_chunks_that_cover_them_unless_told_otherwise(make_recipe) -> None:
    warmup = replace(make_recipe(Stage.WARMUP), windows=None)
    asked = resolved(warmup)
    assert (asked.also, asked.windows.chunk_s) == ((Modality.PAIRED,), 1.0)
    for other in (["loss.cross=0"], ["codebook.shared=false"], ['modality_steps={"video": 1, "action": 1}']):
        assert resolved(override(warmup, other)).windows is None
    assert not override(warmup, ["loss.cross=0"]).also
    assert not replace(warmup, stage=Stage.COTRAIN).also
    own = WindowSpec(starts=Starts.ROWS, horizon=12, futures=1)
    assert resolved(replace(warmup, windows=own)).windows == own, "a recipe's own windows stay"


def test_the_preset_of_the_paper_takes_away_what_we_added(recipe) -> None:
    printed = override(replace(recipe, windows=None), ["preset=paper", "loss.features=0.1"])
    model, loss = printed.model, printed.loss
    assert (loss.cross, loss.usage_match, loss.features) == (0.0, 0.0, 0.1), "what follows it holds"
    assert (model.codebook.update, model.codebook.modality_norm) == (CodeUpdate.GRAD, ModalityNorm.NONE)
    assert model.codebook.continuous_updates == 0
    assert not model.visual_decoder.predicts_features
    assert model.action_decoder.context is ActionContext.NONE
    assert resolved(printed).windows is None
    with pytest.raises(RequestError, match="preset=papr: unknown preset; expected paper"):
        override(recipe, ["preset=papr"])
