"""Runs on the report: curves as logged, the newest previews, and refusals that name the run."""

import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.vita_data.pages.page_parser import PageParser
from vita_data.errors import RequestError, ShardError
from vita_data.formats.toy import read_toy_frame
from vita_data.pages.drawing.html import page
from vita_data.pages.runs.run_files import newest_actions, newest_frames, read_metrics
from vita_data.pages.runs.training import run_section


def parse(run: Path) -> PageParser:
    return PageParser(page("t", "i", [run_section(run)]))


def labels(parsed: PageParser) -> list[str]:
    return [svg["aria-label"] or "" for svg in parsed.named("svg") if "aria-label" in svg]


def test_curves_hold_the_logged_values_of_each_modality(run_folder: Path) -> None:
    metrics = read_metrics(run_folder)
    assert (metrics.stages, metrics.num_steps) == (("warmup",), 40)
    video, action = metrics.of("loss")
    assert (video.modality, action.modality) == ("video", "action")
    np.testing.assert_array_equal(video.step, np.arange(1, 41, 2))
    np.testing.assert_allclose(action.value, 2.0 / np.arange(2, 41, 2))
    assert metrics.shares == {"video": {"arm": 0.25, "film": 0.75}, "action": {"arm": 1.0}}


def test_every_logged_scalar_has_a_chart_the_unknown_ones_too(run_folder: Path) -> None:
    parsed = parse(run_folder)
    assert parsed.faults == []
    ends = [label.rsplit(": ", 1)[1] for label in labels(parsed)]
    wanted = ["loss", "l1", "token_perplexity", "lr", "samples_per_s", "novel"]
    assert ends[:6] == [f"{name} over training step" for name in wanted]
    assert "training step: 20\naction: 0.1" in parsed.texts


def test_long_curve_is_drawn_as_means_and_says_so(run_folder: Path) -> None:
    rows = [{"step": step, "stage": "cotrain", "modality": "video", "loss": step % 5} for step in range(1, 1001)]
    (run_folder / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    texts = parse(run_folder).texts
    assert "video (means of 5 steps)" in texts
    shown = [text for text in texts if text.startswith("training step: ")]
    assert shown[0] == "training step: 3\nvideo (means of 5 steps): 2"
    assert all(text.endswith(": 2") for text in shown)


def _begin_codes_at(run: Path, first: int, *, stage: str = "warmup") -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["stage"] = stage
        if row["step"] < first:
            del row["token_perplexity"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_phase_before_codes_is_shaded_and_explained(run_folder: Path) -> None:
    """The total loss jumps where codes begin, as terms join it: that must not look like a fault of the run."""
    _begin_codes_at(run_folder, 14)
    assert read_metrics(run_folder).continuous == (1, 13)
    texts = parse(run_folder).texts
    assert any("Up to step 13 (shaded) the run is in its continuous phase" in text for text in texts)
    assert texts.count("continuous phase, no codes yet") >= 2, "in each chart of losses"
    assert "training step: 13\nvideo: 0.1538\ncontinuous phase, no codes yet" in texts
    assert "training step: 14\naction: 0.1429" in texts


@pytest.mark.parametrize(("first", "stage"), [(1, "warmup"), (99, "warmup"), (14, "cotrain")])
def test_no_phase_is_shown_without_a_beginning_of_codes(run_folder: Path, first: int, stage: str) -> None:
    _begin_codes_at(run_folder, first, stage=stage)
    assert read_metrics(run_folder).continuous is None
    assert not any("continuous phase" in text for text in parse(run_folder).texts)


def test_the_steps_of_each_modality_are_counted(run_folder: Path) -> None:
    """A recipe may divide the steps otherwise than the mixture's defaults."""
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["modality"] == "action" or json.loads(line)["step"] < 20]
    (run_folder / "metrics.jsonl").write_text("\n".join(kept))
    assert read_metrics(run_folder).num_steps_of == {"action": 20, "video": 10}
    assert "Steps by the modality of their batches: action 20 (66.67%), video 10 (33.33%)." in parse(run_folder).texts


def test_realised_shares_are_those_of_the_last_step(run_folder: Path) -> None:
    rows = parse(run_folder).rows[1:]
    assert sorted(rows) == [["action", "arm", "100.00%"], ["video", "arm", "25.00%"], ["video", "film", "75.00%"]]


def test_newest_preview_picture_is_shown_with_its_step(run_folder: Path) -> None:
    parsed = parse(run_folder)
    assert [read_toy_frame(simplejpeg.decode_jpeg(data)).step for data in parsed.images] == [40]
    assert (parsed.named("img")[0]["alt"] or "").startswith("After step 40,")


def test_true_and_predicted_actions_are_drawn_for_real_columns_alone(run_folder: Path) -> None:
    parsed = parse(run_folder)
    chunks = [label for label in labels(parsed) if label.startswith("Sample")]
    assert [chunk.split(":")[1].strip() for chunk in chunks] == [
        "right arm translation",
        "right arm rotation",
        "right arm gripper",
    ]
    assert "step of the chunk: 5\ngripper true: 0.5\ngripper pred.: 0.6" in parsed.texts
    assert "step of the chunk: 6" in parsed.texts, "steps 6 and 7 are masked: no values there"
    assert "Sample 2 has no valid action." in parsed.texts


def test_large_preview_is_scaled_down(run_folder: Path) -> None:
    wide = np.zeros((260, 6500, 3), np.uint8)
    path = run_folder / "previews" / "step-00000041-frames.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(wide))
    shown = simplejpeg.decode_jpeg(parse(run_folder).images[0])
    assert shown.shape == (64, 1600, 3)


def test_half_written_last_line_is_left_out(run_folder: Path) -> None:
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "sta')
    assert read_metrics(run_folder).num_steps == 40


def test_damaged_line_is_named(run_folder: Path) -> None:
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    (run_folder / "metrics.jsonl").write_text("\n".join([lines[0], '{"step": 2}', *lines[2:]]))
    with pytest.raises(ShardError, match=r"metrics\.jsonl line 2"):
        read_metrics(run_folder)


@pytest.mark.parametrize("content", [None, "", '{"step'])
def test_folder_without_a_step_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    run = tmp_path / "not-a-run"
    run.mkdir()
    if content is not None:
        (run / "metrics.jsonl").write_text(content)
    with pytest.raises(RequestError, match="not-a-run"):
        run_section(run)


def test_run_without_previews_shows_its_curves(run_folder: Path) -> None:
    for path in (run_folder / "previews").iterdir():
        path.unlink()
    assert newest_frames(run_folder) is None
    assert newest_actions(run_folder) is None
    assert parse(run_folder).images == []


def test_action_preview_of_another_shape_is_refused(run_folder: Path) -> None:
    path = run_folder / "previews" / "step-00000040-actions.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "mask": [[[True]]]}))
    with pytest.raises(ShardError, match="must all be"):
        newest_actions(run_folder)


def test_broken_preview_picture_is_refused(run_folder: Path) -> None:
    (run_folder / "previews" / "step-00000040-frames.jpg").write_bytes(b"no jpeg")
    with pytest.raises(ShardError, match="preview of step 40 is not a valid JPEG"):
        run_section(run_folder)
