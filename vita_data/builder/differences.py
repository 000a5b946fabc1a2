"""Explains how a request differs from the existing build, in terms of the command line, and what to do about it."""

from collections.abc import Collection, Mapping

from vita_data.errors import RequestError
from vita_data.storage.files import AnyPath
from vita_data.types import Json


def refuse_difference(
    before: Json,
    now: Json,
    *,
    folder: AnyPath,
    raw: str,
    defaults: Json,
    failed: Collection[str] = (),
    ignored: Collection[str] = (),
) -> None:
    """Refuse to change an output that was built differently.

    Args:
        before: the fingerprint of the output.
        now: the fingerprint of the request.
        folder: the output, for the message.
        raw: the requested raw tree, for the message.
        defaults: the default settings of the source.
        failed: ids of the raw parts in which episodes failed, or that are not built yet.
        ignored: fields that may differ.

    Raises:
        RequestError: names the first setting, the raw files or the version that differs.
    """
    for name in now:
        old, new = before.get(name), now[name]
        if old == new or name in ignored:
            continue
        if name == "parts":
            raise RequestError(_raw_difference(_sizes(old), _sizes(new), folder=folder, raw=raw, failed=failed))
        if name == "source_file":
            raise RequestError(
                f"{folder} was built with another content of --source-file, or of the source's package, or of a file "
                "that it names, such as a URDF; restore it, or use another --out"
            )
        if name == "versions":
            raise RequestError(f"{folder} was built with {_versions(old, new)}; {_INSTALL}")
        was, asked = _settings(old, new, defaults) if name == "settings" else (_option(name, old), _option(name, new))
        raise RequestError(
            f"{folder} was built with {was}, but this build asks for {asked}; use the same settings or another --out"
        )


_INSTALL = "install that version to continue, or give another --out"


def _raw_difference(
    old: Mapping[str, int], new: Mapping[str, int], *, folder: AnyPath, raw: str, failed: Collection[str]
) -> str:
    changed = [id_ for id_ in new if id_ in old and old[id_] != new[id_]]
    if changed and old.keys() == new.keys() and failed and set(changed) <= set(failed):
        first, more = changed[0], "" if len(changed) == 1 else f", and {len(changed) - 1} more files have"
        return (
            f"{first} has changed since the build ({old[first]:,} bytes then, {new[first]:,} now){more}. Its "
            "episodes had failed or were not built yet; to read them again, run the same command with --retry-failed"
        )
    kinds = (
        ("new", [id_ for id_ in new if id_ not in old]),
        ("missing", [id_ for id_ in old if id_ not in new]),
        ("of another size", changed),
    )
    told = "; ".join(_counted(ids, what) for what, ids in kinds if ids) or "the files are listed in another order"
    return (
        f"the raw data in --raw {raw} differs from the raw data that {folder} was built from: {told}. "
        "Restore the raw data, or build into another --out"
    )


def _counted(ids: list[str], what: str) -> str:
    if len(ids) == 1:
        return f"1 file is {what} ({ids[0]})"
    return f"{len(ids)} files are {what} (such as {ids[0]})"


def _sizes(parts: object) -> dict[str, int]:
    return {str(id_): int(size) for id_, size in parts} if isinstance(parts, list) else {}


def _versions(old: object, new: object) -> str:
    key, was, now = _first_difference(old, new)
    return f"{key} {was}, and {key} {now} is installed now"


def _settings(old: object, new: object, defaults: Json) -> tuple[str, str]:
    key, was, asked = _first_difference(old, new)
    return _assignment(key, was, defaults), _assignment(key, asked, defaults)


def _assignment(key: str, value: object, defaults: Json) -> str:
    return f"--set {key}={_text(value)}" + (" (the default)" if defaults.get(key) == value else "")


def _text(value: object) -> str:
    """Format a setting's value as `--set` accepts it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


def _option(name: str, value: object) -> str:
    if name == "limit" and value is None:
        return "no --limit"
    return f"{'--' if name in ('frames', 'limit', 'source') else ''}{name} {value}"


def _first_difference(old: object, new: object) -> tuple[str, object, object]:
    was, asked = (value if isinstance(value, dict) else {} for value in (old, new))
    key = next(key for key in sorted({*was, *asked}) if was.get(key) != asked.get(key))
    return key, was.get(key), asked.get(key)
