"""Which stopped run goes on: ``resume=true``, a run's folder, or ``runs:/ID``."""

from __future__ import annotations

from pathlib import Path

from cytoloop.errors import ConfigError, ModelError
from cytoloop.overrides import is_override, quote

LAST = "checkpoints/last.ckpt"
FINISHED = "finished"
"""Name of the file that a finished training leaves in its folder."""
_BUDGET = ("trainer.max_epochs", "trainer.max_steps", "epochs", "budget_minutes")
_MAY_CHANGE = ("resume", "output", "data.num_workers", *_BUDGET)


def expand_resume(words: list[str]) -> list[str]:
    """Return the overrides of the run that goes on, where ``resume=`` asks for one.

    Raises
    ------
    ModelError
        No such run.
    ConfigError
        An override that differs from that run's: it would not be the same run.
    """
    given = {word.partition("=")[0]: word for word in words if is_override(word)}
    which = given.get("resume", "=false").partition("=")[2].strip("'\"")
    if which.lower() in ("false", "null", ""):
        return words
    from omegaconf import OmegaConf

    runs_dir = given.get("paths.runs_dir", "=runs").partition("=")[2]
    folder = find_resumable(which, runs_dir)
    stored = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    former = {str(word).partition("=")[0]: str(word) for word in stored}
    if problems := [
        f"{word} now, {former.get(key, 'the default')} when the run was started"
        for key, word in sorted(given.items())
        if key not in _MAY_CHANGE and former.get(key) != word
    ]:
        raise ConfigError(
            "resume", problems, "Leave these out, or start a new run with init_from=FOLDER."
        )
    place = {key: f"{key}={quote(str(folder))}" for key in ("resume", "output")}
    flags = [word for word in words if not is_override(word)]
    return [*(former | given | place).values(), *flags]


def find_resumable(which: str, runs_dir: str | Path = "runs") -> Path:
    """Return the folder of the run to go on with.

    Parameters
    ----------
    which : str
        ``true`` (the newest that has not finished), a folder, or ``runs:/ID``.
    runs_dir : str or Path
        Where ``train/`` holds the runs.

    Raises
    ------
    ModelError
        There is none, it has no ``last.ckpt``, or its folder is not on this machine.
    """
    if which.lower() == "true":
        open_ = [folder for folder in _known(runs_dir) if not (folder / FINISHED).is_file()]
        if not open_:
            raise ModelError(
                f"{runs_dir}/train",
                "knows no stopped run to resume",
                "Name its folder: resume=FOLDER (the output= of that training).",
            )
        return max(open_, key=lambda folder: (folder / LAST).stat().st_mtime)
    if which.startswith("runs:/"):
        from cytoloop.tracking.run import open_run

        run = open_run(which.removeprefix("runs:/").strip("/"))
        folder = Path(run.client.get_run(run.run_id).data.tags.get("cytoloop.output", ""))
    else:
        folder = Path(which).expanduser()
    if not (folder / LAST).is_file():
        raise ModelError(
            which,
            f"no {LAST} in {folder}",
            "A run can be resumed from its first validation on; else start it again.",
        )
    return folder


def note_training(folder: Path, runs_dir: str | Path) -> None:
    """Remember where a training writes, so that ``resume=true`` finds it with any ``output=``."""
    notes = Path(runs_dir, _NOTES)
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("a", encoding="utf-8") as file:
        file.write(f"{folder.absolute()}\n")


_NOTES = "trainings.txt"


def _known(runs_dir: str | Path) -> list[Path]:
    """Return the folders of trainings here that have a last checkpoint."""
    notes = Path(runs_dir, _NOTES)
    noted = notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []
    return [folder for folder in map(Path, dict.fromkeys(noted)) if (folder / LAST).is_file()]
