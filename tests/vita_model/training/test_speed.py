"""How fast steps are: rates from times of a clock that the test moves, and what is not known is absent."""

import json
from dataclasses import replace

import pytest
import torch

from tests.vita_model.training.evaluation.test_evaluate import statistics_of
from vita_data.types import Modality, Stage
from vita_model.distributed import Ranks
from vita_model.network.prediction import Draws
from vita_model.network.reasoning import ReasoningConfig, VisualReasoning
from vita_model.network.vita import Vita
from vita_model.training import speed
from vita_model.training.estimate.cards import CARDS
from vita_model.training.estimate.fake_model import count_flop
from vita_model.training.log import RunLog
from vita_model.training.parallel import gradient_wait_s
from vita_model.training.recipes.recipe import Precision
from vita_model.training.speed import SpeedMeter, StepSpeed, peak_flop_per_s, total
from vita_model.training.stages import RULES
from vita_model.training.step_clock import StepClock, StepPart, with_communication
from vita_model.training.train import train

CPU = torch.device("cpu")
PARTS = {"data_s": 0.5, "forward_s": 0.5, "backward_s": 0.75, "optimizer_s": 0.0, "communication_s": 0.25}


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_clock_measures_parts_and_the_whole_step() -> None:
    now = FakeClock()
    clock = StepClock(CPU, now)
    now.seconds += 50
    for _ in range(2):
        clock.begin()
        for part, seconds in ((StepPart.DATA, 1.0), (StepPart.FORWARD, 2.0), (StepPart.FORWARD, 4.0)):
            with clock.timed(part):
                now.seconds += seconds
        now.seconds += 8
        assert clock.read() == {"data_s": 1.0, "forward_s": 6.0, "backward_s": 0.0, "optimizer_s": 0.0}
        assert clock.step_s() == 15.0


def test_waiting_for_other_ranks_is_taken_out_of_the_backward_pass() -> None:
    parts = {"forward_s": 1.0, "backward_s": 2.0}
    assert with_communication(parts, 0.5) == {"forward_s": 1.0, "backward_s": 1.5, "communication_s": 0.5}
    # Two clocks differ a little.
    assert with_communication(parts, 2.1) == {"forward_s": 1.0, "backward_s": 0.0, "communication_s": 2.0}
    assert with_communication(parts, None) == parts


@pytest.mark.parametrize(("whole", "hidden", "waited"), [(5, 2, 3.0), (2, 5, 0.0), (None, 2, None), (5, None, None)])
def test_sums_of_gradients_count_as_far_as_the_rank_has_nothing_else_to_do(monkeypatch, whole, hidden, waited) -> None:
    class Copied(torch.nn.Module):
        class logger:  # noqa: N801 - as DDP names it
            set_runtime_stats_and_log = staticmethod(lambda: None)

        def _get_ddp_logging_data(self):
            found = {"backward_comm_time": whole, "backward_compute_comm_overlap_time": hidden}
            return {name: int(seconds * 1e9) for name, seconds in found.items() if seconds is not None}

    assert gradient_wait_s(Copied()) is None
    monkeypatch.setattr("vita_model.training.parallel.DistributedDataParallel", Copied)
    assert gradient_wait_s(Copied()) == waited


def test_rates_are_of_the_whole_step_and_unknown_ones_are_absent() -> None:
    known = StepSpeed(
        step_s=2.0, parts_s=PARTS, num_samples=8, num_tokens=4000, at_peak_s=0.5, memory_bytes=3_000_000_000
    )
    assert known.figures() == {
        "step_s": 2.0, **PARTS, "samples_per_s": 4.0, "tokens_per_s": 2000.0, "mfu": 0.25,
        "memory_bytes": 3_000_000_000,
    }  # fmt: skip
    assert known.text() == "4 samples/s  2,000 tokens/s  MFU 25%  data 25%  communication 12%  3.0 GB"
    alone = {name: value for name, value in PARTS.items() if name != "communication_s"}
    little = StepSpeed(step_s=2.0, parts_s=alone, num_samples=1)
    assert little.figures().keys() == {"step_s", *alone, "samples_per_s", "memory_bytes"}
    assert little.text() == "0.5 samples/s  data 25%"


def test_several_steps_have_the_rates_of_their_whole_time() -> None:
    one = StepSpeed(step_s=1.0, parts_s=PARTS, num_samples=8, num_tokens=80, at_peak_s=0.25, memory_bytes=7)
    two = replace(one, step_s=3.0, memory_bytes=5)
    both = total([one, two])
    assert both.figures()["samples_per_s"] == 4.0
    assert both.figures()["mfu"] == 0.125
    assert both.parts_s == {name: 2 * seconds for name, seconds in PARTS.items()}
    assert (both.num_tokens, both.memory_bytes) == (160, 7)
    mixed = total([one, replace(two, num_tokens=None, at_peak_s=None, parts_s={"data_s": 1.0})])
    assert (mixed.num_tokens, mixed.at_peak_s, mixed.parts_s) == (None, None, {"data_s": 1.5})


def test_a_line_is_of_the_steps_since_the_last_one(tmp_path) -> None:
    lines, now = list[str](), FakeClock()
    log = RunLog(tmp_path, start_step=0, num_steps=8, report_every=2, report=lines.append, now=now)
    for step in range(1, 5):
        now.seconds += 10  # with an evaluation between the steps
        log.row(
            step=step, stage="warmup", modality="video", values={"loss": 0.5}, shares={}, substituted={},
            speed=StepSpeed(step_s=float(step), parts_s={"data_s": 1.0}, num_samples=14),
        )  # fmt: skip
    log.close()
    assert lines == [
        "step 2/8  video  loss 0.5000  9.33 samples/s  data 67%  0:01:00 left",
        "step 4/8  video  loss 0.5000  4 samples/s  data 29%  0:00:40 left",
    ]


def test_slow_steps_have_a_line_after_half_a_minute_too(tmp_path) -> None:
    lines, now = list[str](), FakeClock()
    log = RunLog(tmp_path, start_step=0, num_steps=100, report_every=8, report=lines.append, now=now)
    for step in range(1, 11):
        now.seconds += 11
        log.row(
            step=step, stage="warmup", modality="video", values={"loss": 0.5}, shares={}, substituted={},
            speed=StepSpeed(step_s=11.0, parts_s={}, num_samples=11 * step),
        )  # fmt: skip
    log.close()
    # At 33 s, at 66 s, at step 8 of `report_every`; half a minute after that has not passed at the end.
    assert [line.split("  ")[0] for line in lines] == ["step 3/100", "step 6/100", "step 8/100"]
    assert [line.split("  ")[3] for line in lines] == ["2 samples/s", "5 samples/s", "7.5 samples/s"]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(
    "cot", [ReasoningConfig(), ReasoningConfig(text=False), ReasoningConfig(visual=VisualReasoning.EXPLICIT)]
)
def test_tokens_are_the_rows_of_the_language_model(config, make_batch, views, cot) -> None:
    config = replace(config, cot=cot, codebook=replace(config.codebook, shared=cot.visual is VisualReasoning.INTERNAL))
    model, batch, seen = Vita(config).eval(), make_batch("paired", futures=2, views=views), list[int]()
    model.backbone.gemma.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        RULES[Stage.COTRAIN].predict(model, batch, Draws())
    assert model.backbone.num_positions(views) == sum(seen)


def test_the_peak_is_that_of_known_cards_in_bf16(monkeypatch) -> None:
    (h200,) = [card for card in CARDS if card.name == "h200"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: device.type and names.pop())
    names = ["Tesla T4", "NVIDIA H200"]
    assert peak_flop_per_s(torch.device("cuda"), Precision.BF16) == h200.bf16_flop_per_s
    assert peak_flop_per_s(torch.device("cuda"), Precision.BF16) is None
    assert peak_flop_per_s(torch.device("cuda"), Precision.FP32) is None
    assert peak_flop_per_s(CPU, Precision.BF16) is None


def test_use_of_the_peak_is_arithmetic_without_recomputation_and_counted_once(
    make_recipe, make_batch, monkeypatch
) -> None:
    recipe = make_recipe(Stage.WARMUP, recompute=True)
    counted = []
    monkeypatch.setattr(speed, "peak_flop_per_s", lambda device, precision: 1e9)
    monkeypatch.setattr(speed, "count_flop", lambda *asked: counted.append(asked) or count_flop(*asked))
    model, now = Vita(recipe.model, RULES[Stage.WARMUP].builds), FakeClock()

    def measured(ranks: Ranks) -> list[StepSpeed]:
        clock = StepClock(CPU, now)
        meter, found = SpeedMeter(model, torch.nn.Module(), recipe, ranks, clock), list[StepSpeed]()
        for _ in range(2):
            clock.begin()
            now.seconds += 2
            found.append(meter.read(make_batch("video")))
        return found

    first, again = measured(Ranks())
    flop = count_flop(replace(recipe, recompute=False), Modality.VIDEO, 4)
    assert first.figures()["mfu"] == again.figures()["mfu"] == pytest.approx(flop / 1e9 / 2, rel=1e-3)
    assert [asked[1:] for asked in counted] == [(Modality.VIDEO, 4)]
    (other, _) = measured(Ranks(rank=1, world_size=2))
    assert other.num_samples == 8
    assert "mfu" not in other.figures()


def test_a_run_logs_its_speed_and_counting_arithmetic_changes_nothing(
    make_recipe, make_stream, tmp_path, monkeypatch
) -> None:
    def go(name: str) -> tuple[list[dict], list[dict]]:
        recipe, run = make_recipe(Stage.COTRAIN, num_steps=2), tmp_path / name
        recipe = replace(recipe, model=replace(recipe.model, codebook=replace(recipe.model.codebook, freeze=False)))
        train(
            recipe, make_stream(Stage.COTRAIN), run, statistics=statistics_of("toy_a", "toy_b"),
            report=lambda line: None, resume=False,
        )  # fmt: skip
        speeds, rows = (
            [json.loads(line) for line in (run / file).read_text().splitlines()]
            for file in ("speed.jsonl", "metrics.jsonl")
        )
        return speeds, [{key: value for key, value in row.items() if key != "samples_per_s"} for row in rows]

    speeds, plain = go("plain")
    monkeypatch.setattr(speed, "peak_flop_per_s", lambda device, precision: 1e12)
    used, counted = go("counted")

    assert counted == plain
    for row in speeds:
        assert not {"mfu", "communication_s"} & row.keys(), "a CPU's peak is not known, and there is one rank"
        assert row["samples_per_s"] * row["step_s"] == pytest.approx(4, rel=1e-3)
        assert row["tokens_per_s"] / row["samples_per_s"] == pytest.approx(
            speeds[0]["tokens_per_s"] / speeds[0]["samples_per_s"], rel=1e-3
        )
    assert all(row["mfu"] > 0 for row in used)
