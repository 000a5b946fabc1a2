"""Tables go to the file that was said to be theirs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.export.tables import FilePlace, TableFiles


def test_a_table_that_grew_after_its_place_was_asked_for_stays_there(tmp_path: Path) -> None:
    files = TableFiles(tmp_path, "{chunk_index}-{file_index}.parquet", max_bytes=100)
    rows = pa.table({"a": pa.array(range(6), pa.int64())})

    assert files.write(rows) == FilePlace(0, 0)
    assert files.place_for(48) == FilePlace(0, 0)
    files.append(pa.table({"a": pa.array(range(60), pa.int64())}))
    assert files.write(rows) == FilePlace(0, 1)
    files.close()

    assert [pq.read_table(tmp_path / f"0-{number}.parquet").num_rows for number in (0, 1)] == [66, 6]
