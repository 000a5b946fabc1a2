"""What a policy's answer takes: the arithmetic of the report; no assertion on seconds."""

import json

import pytest
import torch
import torch.nn.functional as F

from pipelines.bench.model.cli import latency as main
from pipelines.bench.model.latency import as_markdown, measure_latency
from pipelines.bench.model.specs import LatencySpec
from vita_data.errors import RequestError
from vita_model.training.estimate.fake_model import flop_counter


def test_each_chunk_length_is_measured_beside_its_floor() -> None:
    report = measure_latency(LatencySpec(preset="tiny", horizons=(4, 8), num_views=1, num_runs=1))
    assert [row.horizon for row in report.rows] == [4, 8]
    for row in report.rows:
        backbone, decoder = row.parts
        assert row.total.flop == backbone.flop + decoder.flop
        assert backbone.floor_s == max(backbone.flop / report.peak_flop_per_s, backbone.num_bytes / report.bytes_per_s)
        assert row.total.floor_s == pytest.approx(backbone.floor_s + decoder.floor_s)
    short, long = report.rows
    assert long.parts[0].flop > short.parts[0].flop
    assert long.parts[1].flop > short.parts[1].flop
    assert "| 8 | total |" in as_markdown(report)


def test_a_second_view_costs_arithmetic_and_no_weights() -> None:
    one, two = (
        measure_latency(LatencySpec(preset="tiny", horizons=(4,), num_views=views, num_runs=1)).rows[0].parts[0]
        for views in (1, 2)
    )
    assert two.flop > 1.5 * one.flop
    assert two.num_bytes == one.num_bytes


def test_the_report_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "tiny", "--horizons", "4", "--runs", "1", "--views", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["horizon"] == 4


@pytest.mark.parametrize(
    "asked", [{"preset": "tyni"}, {"horizons": ()}, {"num_views": 4}, {"device": "cuda:99"}, {"device": "cud"}]
)
def test_what_cannot_be_measured_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        LatencySpec(**asked)  # type: ignore[arg-type]


def test_attention_is_counted_on_a_cpu_too() -> None:
    rows, width = 8, 4
    query = torch.zeros(1, 1, rows, width)
    allowed = torch.ones(1, 1, rows, rows, dtype=torch.bool)
    with flop_counter() as counter:
        F.scaled_dot_product_attention(query, query, query, attn_mask=allowed)
    assert counter.get_total_flops() == 2 * 2 * rows * rows * width
