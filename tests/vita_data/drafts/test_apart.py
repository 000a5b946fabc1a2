"""The verb reads in a worker: a tree of a stranger cannot hang it, crash it or fill this machine's memory."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from vita_data.cli.main import main


def test_columns_that_do_not_fit_are_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "large.hdf5", "w") as file:  # a few kilobytes that declare 670 MB of zeros
        for number in range(12):
            file.create_dataset(f"data/demo_{number}/actions", (1_000_000, 7), np.float64, chunks=(1000, 7))
    out = tmp_path / "draft.py"
    assert main(["new-source", "--from", str(tmp_path), "--out", str(out), "--memory-mb", "500"]) == 1
    told = capsys.readouterr().err
    expected = f"--from {tmp_path}, large.hdf5: reading it takes more than the 0.5 GB"
    assert told.startswith(f"vita-data new-source: {expected}")
    assert (told.count("\n"), out.exists()) == (1, False)
