"""The list of a built source's raw episodes, `episodes.parquet`: its name and a checked read."""

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq

from vita_data.errors import ShardError
from vita_data.shards.index import card_sums, read_card
from vita_data.storage.files import AnyPath, read_files

EPISODES = "episodes.parquet"
_REPAIR = "run the same build again"


def read_episodes(folder: AnyPath) -> pa.Table:
    """Read the list: one row for each raw episode, stored or not.

    Raises:
        ManifestError: the source has not been built in the folder.
        ShardError: the list is missing or does not match the card's checksum.
    """
    path, wanted = folder / EPISODES, card_sums(read_card(folder)).get(EPISODES)
    try:
        data = read_files([path])[0]
    except FileNotFoundError:
        raise ShardError(f"{path}: is missing; {_REPAIR}") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ShardError(f"{path}: does not match the card's sha256; {_REPAIR}")
    return pq.read_table(io.BytesIO(data))
