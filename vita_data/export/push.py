"""Uploads an export to a dataset repository of the Hugging Face hub, if its licence allows it.

Address, token and proxy come from the environment, as for every client of the hub: `HF_ENDPOINT`, `HF_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vita_data.errors import AGAIN, RequestError, StorageError
from vita_data.export.card import ExportNote, read_note

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LEROBOT_TAG = "v3.0"
"""lerobot fetches the revision that is named like the format."""
_REFUSED = (401, 403, 404)
_CLIENT = "httpx"
"""The start of the name of the package that talks to the hub; it has changed between versions of `huggingface_hub`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """What is uploaded, and where to."""

    folder: Path
    repo: str
    private: bool = False
    """Whether a new repository is private."""
    in_house: bool = False
    """Whether all who can read the repository, which must be private, are in house."""
    quiet: bool = False


def push(request: PushRequest) -> str:
    """Upload an export; files that the repository already has are not sent again.

    Returns:
        The address of the repository.

    Raises:
        RequestError: the folder is no export, the licence forbids passing on, or the hub refuses.
        StorageError: the hub does not answer.
    """
    note = read_note(request.folder)
    if not note.redistributable and not request.in_house:
        raise RequestError(
            f"{request.folder}: the licence of {note.source} ({note.licence}) forbids passing the data on; if all who "
            "can read a private repository are in house, add --in-house"
        )
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if request.quiet:
        disable_progress_bars()
    api = HfApi(library_name="vita-data")
    with _hub_errors(request.repo):
        return _upload(api, request, note)


def _upload(api: HfApi, request: PushRequest, note: ExportNote) -> str:
    from huggingface_hub.errors import RevisionNotFoundError

    repo, kind = request.repo, "dataset"
    address = api.create_repo(repo, repo_type=kind, private=request.private or request.in_house, exist_ok=True)
    if (request.in_house or request.private) and not api.repo_info(repo, repo_type=kind).private:
        raise RequestError(f"{address} exists and is public; make it private on the hub, or give another repository")
    api.upload_folder(
        repo_id=repo, repo_type=kind, folder_path=request.folder, commit_message=f"Upload {note.source} by vita-data"
    )
    if note.format == "lerobot":
        with suppress(RevisionNotFoundError):
            api.delete_tag(repo, repo_type=kind, tag=_LEROBOT_TAG)
        api.create_tag(repo, repo_type=kind, tag=_LEROBOT_TAG)
    return str(address)


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turn exceptions of the hub's client into a one-line error, for a `with` block."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as error:
        raise RequestError(f"{repo}: expected ORG/NAME as the hub writes it ({error})") from error
    except OfflineModeIsEnabled as error:
        raise RequestError(f"{repo}: HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it") from error
    except LocalTokenNotFoundError as error:
        raise RequestError(f"{repo}: no token of the hub found; set HF_TOKEN, or run `hf auth login`") from error
    except HfHubHTTPError as error:
        if error.response.status_code in _REFUSED:
            raise RequestError(
                f"{repo}: the hub refuses ({error}); set HF_TOKEN to a token that may write to this repository"
            ) from error
        raise StorageError(f"{repo}: {error}; {AGAIN}") from error
    except Exception as error:
        if not type(error).__module__.startswith(_CLIENT):
            raise
        raise StorageError(f"{repo}: the hub does not answer ({error}); check the network, then {AGAIN}") from error
