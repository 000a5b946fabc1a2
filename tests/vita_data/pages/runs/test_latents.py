"""What the latents carry, on a run's page: figures beside each other, the verdict in words, the course, the picture."""

import json
from pathlib import Path

import pytest
import simplejpeg

from tests.vita_data.pages.conftest import FIGURES, jpeg
from tests.vita_data.pages.page_parser import PageParser
from vita_data.errors import ShardError
from vita_data.formats.toy import read_toy_frame
from vita_data.pages.drawing.html import page
from vita_data.pages.runs.run_files import read_evaluation, read_evaluations
from vita_data.pages.runs.training import run_section

WARNING = "warning: the actions do not need their latents: the codes carry nothing for them"


def parse(run: Path) -> PageParser:
    return PageParser(page("t", "i", [run_section(run)]))


def write(run: Path, *, steps: tuple[int, ...] = (40,), **changes: float) -> None:
    rows = [{"step": step, **FIGURES, **changes, "frames/l1": 0.031 * 40 / step} for step in steps]
    (run / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "evaluation.json").write_text(json.dumps({**rows[-1], "verdict": ["frames need them", WARNING]}))


def test_errors_stand_beside_those_of_other_latents_and_of_the_trivial_predictor(run_folder: Path) -> None:
    write(run_folder)
    parsed = parse(run_folder)
    assert parsed.faults == []
    rows = {row[0]: row[1:] for row in parsed.rows if row}
    # The column of the subtasks is left out: no figure is there.
    assert rows["decoded"] == ["own latents", "another sample's latents", "mean of the latents",
                               "trivial: copied frame, mean action", "own / another's"]  # fmt: skip
    assert rows["frames: absolute error (L1)"] == ["0.031", "0.062", "0.05", "0.052", "0.5"]
    assert rows["actions: squared error (normalized)"] == ["0.2", "0.2", "–", "0.567", "1"]
    assert rows["actions decoded from the video's codes: squared error"] == ["0.021", "0.563"]


def test_perplexity_is_shown_beside_rank_and_what_another_samples_latents_cost(run_folder: Path) -> None:
    metrics = run_folder / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps({**row, "perplexity_video": row["step"]}) + "\n" for row in rows))
    write(run_folder)
    shown = {row[0]: row[1:] for row in parse(run_folder).rows if row}
    codes = [row for row in parse(run_folder).rows if row[:2] in (["video", "3.5"], ["actions", "2.25"])]
    assert codes == [["video", "3.5", "160", "40", "0.5", "–"], ["actions", "2.25", "–", "–", "–", "1"]]
    assert shown["paired windows whose video and actions use the same code"] == ["52.0%"]
    assert shown["the same, expected by chance"] == ["0.9%"]


def test_the_verdict_is_said_in_words_and_its_warnings_stand_out(run_folder: Path) -> None:
    write(run_folder)
    html = page("t", "i", [run_section(run_folder)])
    assert "<h3>What information the latents contain</h3>" in html
    assert "<p>Frames need them.</p>" in html
    assert f'<p class="warning">W{WARNING[1:]}.</p>' in html
    assert "Measured after step 40." in html


def test_the_course_is_drawn_once_there_are_two_evaluations(run_folder: Path) -> None:
    write(run_folder)
    assert not [label for label in labels(run_folder) if label.startswith("Measured")]
    write(run_folder, steps=(20, 40))
    drawn = [label for label in labels(run_folder) if label.startswith("Measured")]
    assert [label.split(": ")[1] for label in drawn] == ["frames", "actions", "effective rank"]
    assert "training step: 20\nown latents: 0.062\nanother sample's: 0.062\nmean latent: 0.05\ntrivial: 0.052" in (
        parse(run_folder).texts
    )


def labels(run: Path) -> list[str]:
    return [svg["aria-label"] or "" for svg in parse(run).named("svg") if "aria-label" in svg]


def test_the_newest_picture_is_shown_also_before_anything_was_measured(run_folder: Path) -> None:
    for step in (20, 40):
        (run_folder / "previews" / f"step-{step:08d}-latents.jpg").write_bytes(jpeg(step + 1))
    parsed = parse(run_folder)
    assert [read_toy_frame(simplejpeg.decode_jpeg(data)).step for data in parsed.images] == [41, 40]
    assert (parsed.named("img")[0]["alt"] or "").startswith(
        "After step 40; a part that the run does not have is omitted. First the frames"
    )
    assert any(text.startswith("Not measured yet") for text in parsed.texts)


def test_the_pictures_caption_explains_the_parts_that_it_has(run_folder: Path) -> None:
    (run_folder / "previews" / "step-00000040-latents.jpg").write_bytes(jpeg(1))
    path, parts = run_folder / "evaluation.json", ("one row per sample", "the hand's path", "most frequent first")

    def caption(*figures: str) -> str:
        path.write_text(json.dumps({"step": 40, **dict.fromkeys(figures, 0.5)}))
        return parse(run_folder).named("img")[0]["alt"] or ""

    paired = caption("frames/l1", "actions/mse", "codes/agreement", "cross/action_mse")
    assert [part in paired for part in parts] == [True, True, True]
    assert "grey where the clip ends before the frame" in paired
    assert "from the video's own latents in blue" in paired
    cotrained = caption("frames/l1", "actions/mse")
    assert [part in cotrained for part in parts] == [True, True, False]
    assert cotrained.startswith("After step 40, from top to bottom: the frames")
    assert [part in caption("actions/mse") for part in parts] == [False, True, False]
    assert caption("actions/mse").startswith("After step 40: the hand's path")
    assert "from the sample's own latents in blue" in caption("actions/mse")


def test_a_run_without_evaluation_and_picture_has_no_such_part(run_folder: Path) -> None:
    assert "What information the latents contain" not in page("t", "i", [run_section(run_folder)])
    assert read_evaluation(run_folder) is None
    assert read_evaluations(run_folder) == ()


def test_an_evaluation_of_an_older_version_shows_what_it_has(run_folder: Path) -> None:
    (run_folder / "evaluation.json").write_text(json.dumps({"step": 6, "frames/l1": 0.1, "frames/copy_l1": 0.2}))
    rows = [row for row in parse(run_folder).rows if row and row[0].startswith("frames")]
    assert rows == [["frames: absolute error (L1)", "0.1", "0.2"]]


@pytest.mark.parametrize("content", ["", "[1]", '{"frames/l1": 0.1}', '{"step": "x"}', '{"step": 4, "verdict": 5}'])
@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.jsonl"])
def test_a_damaged_evaluation_is_refused_by_name(run_folder: Path, name: str, content: str) -> None:
    write(run_folder)
    (run_folder / name).write_text(content or "{")
    with pytest.raises(ShardError, match=rf"run-one/{name.replace('.', '[.]')}.*expected a step and figures"):
        run_section(run_folder)
