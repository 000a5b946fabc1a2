"""Record scripted demonstrations of a robosuite task in LIBERO's HDF5 layout, for `vita-data build --source libero`.

As in LIBERO's official files, observation t is taken after action t, and images are upside down. Unlike there,
`actions` are the expert's commands, and `executed_actions` are the commands after disturbance.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np

from vita_data.command.progress import SILENT, Progress
from vita_data.config.checks import MAX_SEED, require, require_whole
from vita_data.errors import RequestError, VitaDataError
from vita_data.storage.files import publish, write_atomically
from vita_model.sims.scripted.demo_file import Take, write_part
from vita_model.sims.scripted.noise import PathNoise, disturbances
from vita_model.sims.scripted.seeds import DEMONSTRATIONS, episode_seeds
from vita_model.sims.scripted.task import HZ, ScriptedTask, TaskSpec, no_op

SUITE = "libero_90"
"""Folder of the tasks; the reader only lists the benchmark's own suites."""
TAIL_STEPS = 10
"""Steps recorded after success, so that the last chunks are complete."""
_ATTEMPTS_PER_DEMO = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """What to record."""

    spec: TaskSpec
    out: Path
    num_demos: int
    seed: int = 0
    noise: PathNoise = field(default_factory=PathNoise)

    def __post_init__(self) -> None:
        """Refuse invalid values; raises RequestError."""
        require_whole(self, "num_demos", most=DEMONSTRATIONS.most_episodes // _ATTEMPTS_PER_DEMO)
        require_whole(self, "seed", least=0, most=MAX_SEED)
        require(self, "seed", fits=self.seed < DEMONSTRATIONS.most_runs, wanted=f"below {DEMONSTRATIONS.most_runs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReport:
    """Summary of a recording; the `num_failed` failed episodes are not stored."""

    path: Path
    num_demos: int
    num_failed: int
    num_steps: int

    @property
    def expert_rate(self) -> float:
        """Share of the expert's episodes that succeeded."""
        return self.num_demos / (self.num_demos + self.num_failed)


def record(
    request: RecordRequest,
    simulator: Callable[[], ScriptedTask],
    report: Callable[[str], None],
    progress: Progress = SILENT,
) -> RecordReport:
    """Record until `num_demos` episodes have succeeded; continues an interrupted recording.

    Args:
        request: what to record.
        simulator: returns the simulator, always the same; not called if everything is already recorded.
        report: called with progress lines.
        progress: counts the demonstrations.

    Raises:
        RequestError: an existing file was recorded with other settings.
        VitaDataError: the expert fails too often.
    """
    path = request.out / SUITE / f"{request.spec.file_stem}_demo.hdf5"
    done = _finished(path, request)
    if done is not None:
        report(f"{path}: already recorded, nothing to do")
        return done
    parts = request.out / "unfinished" / f"{request.spec.file_stem}"
    _check_settings(parts, request)
    progress.start(request.num_demos)
    _record_parts(parts, request, simulator, report, progress)
    return _assemble(path, parts, request)


def _record_parts(
    parts: Path,
    request: RecordRequest,
    simulator: Callable[[], ScriptedTask],
    report: Callable[[str], None],
    progress: Progress,
) -> None:
    """Write `demo-<seed>.hdf5`, or an empty `failed-<seed>`, for each attempt."""
    num_good = 0
    for attempt, seed in enumerate(episode_seeds(DEMONSTRATIONS, request.seed)):
        if num_good == request.num_demos:
            break
        if attempt >= _ATTEMPTS_PER_DEMO * request.num_demos:
            raise VitaDataError(
                f"{request.spec.name}: the expert succeeded in {num_good} of {attempt} attempts (requested "
                f"demonstrations: {request.num_demos}); reduce the noise (--noise none)"
            )
        good, failed = _part(parts, seed), parts / f"failed-{seed}"
        if not good.is_file() and not failed.is_file():
            take = _take(simulator(), seed, request.noise)
            if take.successes[-1]:
                write_part(good, take, seed)
            else:
                failed.touch()
            report(f"{request.spec.name} seed {seed}: {len(take.commands)} steps, {_outcome_text(take.successes[-1])}")
        num_good += good.is_file()
        progress.update(int(good.is_file()), f"{attempt + 1 - num_good} failed")


def _take(simulator: ScriptedTask, seed: int, noise: PathNoise) -> Take:
    """Run the expert once; the first row is a no-op, whose observation belongs to the first action."""
    generator = np.random.default_rng([seed, 1])
    simulator.reset(seed)
    _wander(simulator, noise, generator)
    take, added = Take(), disturbances(noise, generator)
    take.step(simulator, no_op(), no_op())
    tail = 0
    while len(take.commands) < simulator.spec.max_steps and tail <= TAIL_STEPS:
        command = simulator.spec.expert(simulator.scene())
        executed = command.copy()
        executed[:3] = np.clip(executed[:3] + next(added), -1.0, 1.0)
        take.step(simulator, command, command if tail else executed)
        tail = tail + 1 if tail or take.successes[-1] else 0
    return take


def _wander(simulator: ScriptedTask, noise: PathNoise, generator: np.random.Generator) -> None:
    if not noise.start_steps:
        return
    direction = generator.uniform(-1.0, 1.0, 3) * [1.0, 1.0, 0.5]
    for _ in range(generator.integers(0, noise.start_steps, endpoint=True)):
        simulator.step(np.array([*direction, *no_op()[3:]]))


def _assemble(path: Path, parts: Path, request: RecordRequest) -> RecordReport:
    """Join the parts in the order of their seeds, and write the file atomically."""
    seeds = sorted(int(part.stem.split("-")[1]) for part in parts.glob("demo-*.hdf5"))[: request.num_demos]
    num_failed = sum(int(part.name.split("-")[1]) < seeds[-1] for part in parts.glob("failed-*"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, total = path.with_suffix(".partial"), 0
    with h5py.File(partial, "w", locking=False) as file:
        data = file.create_group("data")
        for number, seed in enumerate(seeds):
            with h5py.File(_part(parts, seed), "r", locking=False) as part:
                part.copy(part["demo"], data, name=f"demo_{number}")
            total += int(data[f"demo_{number}"].attrs["num_samples"])
        data.attrs.update(_attributes(request, num_demos=len(seeds), num_failed=num_failed, total=total))
    publish(partial, path)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()
    with contextlib.suppress(OSError):  # other tasks may have parts there
        parts.parent.rmdir()
    return RecordReport(path=path, num_demos=len(seeds), num_failed=num_failed, num_steps=total)


def _attributes(request: RecordRequest, *, num_demos: int, num_failed: int, total: int) -> dict[str, object]:
    instruction = {"problem_name": request.spec.name, "language_instruction": request.spec.instruction}
    environment = {
        "env_name": request.spec.environment,
        "robots": "Panda",
        "controller": "OSC_POSE",
        "control_freq": HZ,
    }
    return {
        "env_name": request.spec.environment,
        "macros_image_convention": "opengl",
        "problem_info": json.dumps(instruction),
        "env_args": json.dumps(environment),
        "num_demos": num_demos,
        "num_failed": num_failed,
        "total": total,
        "recorded_with": _settings(request),
    }


def _finished(path: Path, request: RecordRequest) -> RecordReport | None:
    if not path.is_file():
        return None
    with h5py.File(path, "r", locking=False) as file:
        attributes = dict(file["data"].attrs)
    _refuse_other(path, str(attributes.get("recorded_with")), request)
    return RecordReport(
        path=path,
        num_demos=int(attributes["num_demos"]),
        num_failed=int(attributes["num_failed"]),
        num_steps=int(attributes["total"]),
    )


def _check_settings(parts: Path, request: RecordRequest) -> None:
    """Store the settings in the folder of parts, or compare them with stored ones."""
    parts.mkdir(parents=True, exist_ok=True)
    settings = parts / "settings.json"
    if settings.is_file():
        _refuse_other(parts, settings.read_text(), request)
    else:
        write_atomically(settings, _settings(request).encode())


def _refuse_other(place: Path, found: str, request: RecordRequest) -> None:
    if found != _settings(request):
        raise RequestError(
            f"{place} was recorded with {found}, but the request is {_settings(request)}; choose another --out, or "
            "remove the old recording"
        )


def _settings(request: RecordRequest) -> str:
    wanted = {"num_demos": request.num_demos, "seed": request.seed, "noise": asdict(request.noise)}
    return json.dumps(wanted, sort_keys=True)


def _part(parts: Path, seed: int) -> Path:
    return parts / f"demo-{seed}.hdf5"


def _outcome_text(success: bool) -> str:  # noqa: FBT001
    return "success" if success else "failed, not saved"
