"""Images of the first episodes, kept on disk until contact sheet and film of them are written.

Episodes may run in several processes, and an evaluation may be interrupted between them.
"""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vita_data.errors import VitaDataError
from vita_data.storage.files import write_atomically
from vita_data.types import Image
from vita_model.sims.results.videos import Videos


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEpisodes:
    """Takes the images of episodes: keeps those of some seeds, and hands all to the films, if there are any."""

    folder: Path
    seeds: tuple[int, ...]
    videos: Videos | None = None

    def wants(self, group: str, number: int) -> bool:
        """Tell whether every step of an episode is shown."""
        return self.videos is not None or number in self.seeds

    def write(self, group: str, number: int, images: Sequence[Image], *, success: bool) -> None:
        """Keep the images of one episode, one for each step.

        Raises:
            VitaDataError: they cannot be written.
        """
        if number in self.seeds:
            data = io.BytesIO()
            np.save(data, np.stack(images))
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(number), data.getvalue())
        if self.videos is not None:
            self.videos.write(group, number, images, success=success)

    def read(self, number: int) -> Sequence[Image]:
        """Give the images of one episode.

        Raises:
            VitaDataError: they are not there.
        """
        path = self._path(number)
        try:
            return list(np.load(path))
        except (OSError, ValueError, EOFError) as fault:
            told = "the images of an episode cannot be read; remove the unfinished evaluation and start again"
            raise VitaDataError(f"{path}: {told} ({fault})") from fault

    def remove(self) -> None:
        """Remove all images."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.npy"
