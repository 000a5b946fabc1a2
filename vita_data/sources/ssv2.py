"""Something-Something-v2: 193,690 labelled videos of hands acting on objects; `video`, no actions.

Layout and label rules follow the owner's download. Test items have no text and are not raw episodes; the answers that
were published for them later (`test-answers.csv`) are not read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from weakref import WeakKeyDictionary

import numpy as np

from vita_data.errors import EpisodeError, RequestError, raise_machine_fault
from vita_data.formats.json_text import parse_json
from vita_data.formats.raw_tree.file_head import look, unreadable, unreadable_text
from vita_data.formats.toy import toy_frame
from vita_data.formats.video.stream import VideoStream, scan_video, write_toy_video
from vita_data.guard import guarded
from vita_data.types import (
    Arms,
    CameraRole,
    CameraStream,
    Episode,
    Instruction,
    Int64,
    JpegFrame,
    Modality,
    Outcome,
    Part,
    RawTree,
    ResizeMode,
    RgbFrame,
    SourceInfo,
    SourceSettings,
    Split,
    TextStyle,
)

VIDEOS = "20bn-something-something-v2"
NATIVE_HZ = 12.0
_LABEL_FILES = {
    Split.TRAIN: ("labels/train.json", "something-something-v2-train.json"),
    Split.VAL: ("labels/validation.json", "something-something-v2-validation.json"),
}

INFO = SourceInfo(
    name="ssv2",
    title="Something-Something-v2",
    embodiment="human",
    arms=Arms.NONE,
    modality=Modality.VIDEO,
    hz=None,
    cameras={CameraRole.PRIMARY: "the video"},
    action_origin=None,
    action_space="none",
    text_style=TextStyle.DESCRIPTION,
    licence="Something-Something-v2 research licence (20BN, Qualcomm)",
    redistributable=False,
    access="login and research licence",
    url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    raw_layout=f"labels/{{train,validation}}.json (or something-something-v2-*.json) and {VIDEOS}/<id>.webm "
    "(or .mp4, or <id>/img_00001.jpg ...)",
    notes=(
        "The rate is measured on each file's time stamps, about 12 Hz; folders of images count as 12 Hz.",
        "Images are the centre square: objects at the far left and right of a wide video are cut off.",
    ),
    published_episodes={"labelled videos": 193690, "VITA Table 10": 108499},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SourceSettings):
    """Settings (`--set`) of SSv2; human video keeps its aspect ratio, so the centre square is the default."""

    resize: ResizeMode = ResizeMode.CENTER_CROP


@dataclass(frozen=True, slots=True)
class _Item:
    label: str
    template: str
    split: Split
    fault: str = ""
    """Why the item of the label file names no video; if set, the other fields are meaningless."""


_PARSED_LABELS: WeakKeyDictionary[RawTree, Mapping[str, _Item]] = WeakKeyDictionary()


class _JpegFolder:
    """Frames that were extracted to `<id>/img_%05d.jpg`, as a `CameraStream`."""

    def __init__(self, raw: RawTree, paths: list[str]) -> None:
        self._raw, self._paths = raw, paths

    @property
    def num_frames(self) -> int:
        return len(self._paths)

    def read(self, rows: Sequence[int], resize: ResizeMode) -> Iterator[JpegFrame | RgbFrame]:
        for row in rows:
            path = self._paths[row]
            try:
                data = self._raw.read_bytes(path)
            except OSError as error:
                raise_machine_fault(error, path)
                what = unreadable(partial(self._raw.open, path), name=path, reason=str(error.strerror))
                raise EpisodeError(f"{path}: cannot be read {what}") from error
            # an empty or damaged frame is lost on its own; a pointer or a web page in its place fails the episode
            if any(data) and (found := look(data, name=path, own={"jpeg"})):
                raise EpisodeError(f"{path}: not a JPEG ({found.what}); {found.advice}")
            yield JpegFrame(data)


def parts(raw: RawTree, settings: SourceSettings) -> list[Part]:
    """List one part per labelled item; an item with a missing video, or without one, fails visibly.

    Raises:
        RequestError: a label file or the video folder is missing, a label file is not a list of items or lists an id
            twice, or no item has a label.
    """
    items = _items(raw)
    found = _found_videos(raw)
    paths = sorted(key if item.fault else found.get(key, f"{VIDEOS}/{key}.webm") for key, item in items.items())
    present = set(found.values())
    return [Part(id=path, num_bytes=_num_bytes(raw, path) if path in present else 0, num_episodes=1) for path in paths]


def episodes(raw: RawTree, part: Part, settings: SourceSettings) -> Iterator[Outcome]:
    """Read one video; its text is `label`, never `template`.

    Assumes: a `--set hz=` replaces the measured rate but not the step numbers.
    """
    items = _items(raw)
    name = part.id if part.id in items else PurePosixPath(part.id).stem
    yield guarded(name, partial(_episode, raw, part, items[name], settings))


def _episode(raw: RawTree, part: Part, item: _Item, settings: SourceSettings) -> Episode:
    if item.fault:
        raise EpisodeError(item.fault)
    name = PurePosixPath(part.id).stem
    stream, step_index, hz = _open(raw, part.id)
    return Episode(
        id=name,
        source=INFO.name,
        release="v2",
        split=item.split,
        embodiment=INFO.embodiment,
        arms=INFO.arms,
        hz=settings.hz or hz,
        step_index=step_index,
        instructions=(Instruction(text=item.label, origin="human", template=item.template),),
        cameras={CameraRole.PRIMARY: stream},
        provenance={"file": part.id, "record": name},
    )


def _open(raw: RawTree, path: str) -> tuple[CameraStream, Int64, float]:
    if not raw.exists(path):
        raise EpisodeError(f"{path}: labelled, but the video does not exist; extract all archives of the download")
    if PurePosixPath(path).suffix:
        local = raw.local_path(path)
        info = scan_video(local, name=path)
        return VideoStream(local, info=info, name=path), info.step_index, info.hz
    images = raw.glob(f"{path}/img_*.jpg")
    numbers = [int("".join(re.findall(r"\d+", PurePosixPath(image).stem))) for image in images]
    if not images:
        raise EpisodeError(f"{path}: a folder without img_*.jpg")
    return _JpegFolder(raw, images), np.array(numbers, np.int64) - numbers[0], NATIVE_HZ


def _items(raw: RawTree) -> Mapping[str, _Item]:
    # each of 200,000 parts needs the labels
    if raw not in _PARSED_LABELS:
        _PARSED_LABELS[raw] = _parse_labels(raw)
    return _PARSED_LABELS[raw]


def _parse_labels(raw: RawTree) -> Mapping[str, _Item]:
    items: dict[str, _Item] = {}
    for split, names in _LABEL_FILES.items():
        path = next((name for name in names if raw.exists(name)), None)
        if path is None:
            raise RequestError(
                f"--raw {raw.root}: {' or '.join(names)} not found; give the folder that contains both label files and "
                f"{VIDEOS}"
            )
        for key, item in _read_labels(raw, path, split):
            if key in items:
                raise RequestError(f"--raw {raw.root}: {path} lists id {key} more than once; fetch the labels")
            items[key] = item
    if not items:
        raise RequestError(f"--raw {raw.root}: the label files contain no labelled items; fetch the labels again")
    return items


def _read_labels(raw: RawTree, path: str, split: Split) -> list[tuple[str, _Item]]:
    """Read the labelled items by id; an item without a video is named by its position in the file.

    Raises:
        RequestError: the file is not a list of items, or no item names a video.
    """
    reason = "other content or invalid JSON"
    try:
        found = parse_json(raw.read_bytes(path))
        if isinstance(found, list):
            items = [_item(item, split, f"{path}#{number:06d}") for number, item in enumerate(found)]
            labelled = [item for item in items if item is not None]
            if not labelled or not all(item.fault for _, item in labelled):
                return labelled
    except OSError as error:
        raise_machine_fault(error, path)
        reason = str(error.strerror)
    except ValueError:
        pass
    what = unreadable_text(raw, path, reason=reason)
    raise RequestError(f"--raw {raw.root}: {path} is not a JSON list of items with id and label {what}")


def _item(found: object, split: Split, place: str) -> tuple[str, _Item] | None:
    """Read one item; None if it has no label; a value that should be text but is not (null) becomes an empty text."""
    if isinstance(found, dict) and "label" not in found:
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(id_, str | int) or not re.fullmatch(r"[^/\0]+", str(id_)):
        fault = f"{place}: expected an item with the id of a video, found {found!r:.80}"
        return place, _Item("", "", split, fault=fault)
    return str(id_), _Item(_text(found["label"]), _text(found.get("template")), split)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _found_videos(raw: RawTree) -> dict[str, str]:
    """Map id to path from one folder listing; a webm is preferred to an mp4, and a file to a folder of images."""
    if not raw.exists(VIDEOS):
        raise RequestError(f"--raw {raw.root}: folder {VIDEOS} not found; join and untar the downloaded archives there")
    rank = {".webm": 2, ".mp4": 1, "": 0}
    found = [PurePosixPath(path) for path in raw.glob(f"{VIDEOS}/*")]
    known = sorted((path for path in found if path.suffix in rank), key=lambda path: rank[path.suffix])
    return {path.stem: str(path) for path in known}


def _num_bytes(raw: RawTree, path: str) -> int:
    files = [path] if PurePosixPath(path).suffix else raw.glob(f"{path}/img_*.jpg")
    return sum(raw.size(file) for file in files)


# ------------------------------------------------------------------------------------------------------- toy tree

_TOY = (  # id, split file, frames, height, width, template, replacements of [something]
    ("1", "train", 36, 240, 427, "Putting [something] on a surface", ("a red cup",)),
    ("2", "train", 30, 240, 427, "Pushing [something] from left to right", ("a wooden block",)),
    ("3", "train", 48, 427, 240, "Picking [something] up", ("a blue pen",)),
    ("4", "train", 42, 240, 320, "Covering [something] with [something]", ("a phone", "a towel")),
    ("5", "train", 40, 240, 427, "Opening [something]", ("[something]",)),
    ("6", "train", 10, 240, 427, "Dropping [something] onto a table", ("a coin",)),
    ("7", "validation", 36, 240, 427, "Pulling [something] from behind of [something]", ("a book", "a box")),
    ("8", "validation", 33, 427, 240, "Turning [something] upside down", ("a green bottle",)),
)


def write_toy(root: str) -> None:
    """Write eight videos of 12 Hz, portrait and landscape; one label is a bare template, one video is too short."""
    folder, labels = Path(root) / VIDEOS, Path(root) / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    listed: dict[str, list[dict[str, object]]] = {"train": [], "validation": [], "test": [{"id": "9"}]}
    for number, split, num_frames, height, width, template, objects in _TOY:
        listed[split].append(_toy_item(number, template, objects))
        frames = (
            toy_frame(height, width, step=step, episode=int(number), resize=ResizeMode.CENTER_CROP)
            for step in range(num_frames)
        )
        write_toy_video(str(folder / f"{number}.webm"), frames, fps=int(NATIVE_HZ))
    for split, items in listed.items():
        (labels / f"{split}.json").write_text(json.dumps(items, indent=1))
    classes = {re.sub(r"[\[\]]", "", template): str(index) for index, (*_, template, _objects) in enumerate(_TOY)}
    (labels / "labels.json").write_text(json.dumps(classes, indent=1))


def _toy_item(number: str, template: str, objects: tuple[str, ...]) -> dict[str, object]:
    label = template
    for thing in objects:
        label = label.replace("[something]", thing, 1)
    return {"id": number, "label": label.lower(), "template": template, "placeholders": list(objects)}
