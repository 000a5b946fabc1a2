"""The table of a LeRobot episode, with the features that `datasets` reads."""

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from vita_data.export.tables import FEATURES_KEY
from vita_data.types import Json


def data_table(columns: Mapping[str, np.ndarray], features: Mapping[str, Json]) -> pa.Table:
    """Make the table of an episode; vectors of one value are plain numbers, as in lerobot."""
    arrays = {key: _array(np.ascontiguousarray(columns[key])) for key in features}
    described = {key: _described(str(feature["dtype"]), arrays[key].type) for key, feature in features.items()}
    metadata = {FEATURES_KEY: json.dumps({"info": {"features": described}})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def _array(values: np.ndarray) -> pa.Array:
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _described(dtype: str, kind: pa.DataType) -> Json:
    value = {"dtype": dtype, "_type": "Value"}
    if not pa.types.is_fixed_size_list(kind):
        return value
    return {"feature": value, "length": kind.list_size, "_type": "List"}
