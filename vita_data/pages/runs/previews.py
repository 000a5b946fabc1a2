"""A run's preview pictures on a page, scaled down for a page."""

from pathlib import Path

from vita_data.errors import ShardError
from vita_data.pages.drawing.html import Markup, Picture, element, picture
from vita_data.pages.runs.run_files import PicturePreview
from vita_data.pages.shards.clips import shrink_jpeg

_MAX_WIDTH = 1600


def preview_picture(preview: PicturePreview, run: Path, caption: str) -> Markup:
    """Show a preview.

    Raises:
        ShardError: the preview is not a JPEG.
    """
    try:
        small = shrink_jpeg(preview.jpeg, max_width=_MAX_WIDTH)
    except ValueError as error:
        raise ShardError(f"{run}: the preview of step {preview.step} is not a valid JPEG ({error})") from error
    return element("div", picture(Picture(jpeg=small, caption=caption)), class_="picture")
