"""The command ``cytoloop VERB ...``: find the verb and run it.

Imports only the standard library, so that ``cytoloop --help`` is fast.
"""

from __future__ import annotations

import difflib
import importlib
import sys

from cytoloop.version import __version__

VERBS = {
    "curate": "pair raw images with segmentations, check and split them: writes a manifest",
    "synthesize": "draw synthetic images of nuclei with labels, 2D and 3D",
    "classic": "segment images by filters, thresholds and watersheds, without a label",
    "annotate": "cut images into crops for an annotation tool, and collect the labels",
    "combine": "take the decisions of other curators into a data set, and list conflicts",
    "check": "report every problem of a data set before training",
    "train": "train or fine-tune a model, or resume a run: writes best.ckpt and last.ckpt",
    "predict": "apply a model to images: writes probability, mask, labels and predictions.csv",
    "evaluate": "score predictions against truth: writes metrics.csv, objects.csv and report.html",
    "compare": "test whether one evaluation is better than another: writes comparison.json",
    "models": "list, register, promote, import and export models (MLflow registry)",
    "study": "train many models that differ in chosen factors, and report what is better",
    "rank": "rank unlabelled images: which to label next, by what models say of them",
    "report": "write the report of a study again",
    "history": "show the rounds that led to a model: data, scores, changes",
    "view": "open napari with panels for all of this (extra `viewer`)",
    "status": "show running and recent trainings; watch=true follows one",
    "cancel": "stop a training and keep its checkpoints",
    "sync": "send what a training could not send to its MLflow store",
    "demo": "run the whole loop on a real confocal stack, in a few minutes",
    "ui": "open the MLflow UI with the runs of this project",
}
ALIASES = {"eval": "evaluate"}
WITHOUT_HYDRA = ("report", "sync", "demo", "ui")


def usage() -> str:
    """Return the text of ``cytoloop --help``."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return f"""\
cytoloop {__version__}: curate -> train -> predict -> evaluate -> curate, for 2D and 3D microscopy

Usage: cytoloop VERB [key=value ...]      cytoloop VERB --help

{verbs}

Example:
  cytoloop curate raw=images/ seg1=labels/ output=dataset/
  cytoloop train experiment=auto data.path=dataset/
  cytoloop predict checkpoint=runs:/RUN_ID input=new_images/ output=preds/
  cytoloop evaluate predictions=preds/predictions.csv truth=dataset/test.csv output=eval/
  cytoloop compare a=eval_before/ b=eval/
"""


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit status: 0 for success, 2 for an error of the user.

    `cytoloop.cli.app.run_verb` lists the other exit statuses.

    Parameters
    ----------
    argv : list of str, optional
        Words after ``cytoloop``; default: those of the command line.
    """
    words = sys.argv[1:] if argv is None else argv
    verb = words[0] if words else "--help"
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if words else 2
    if verb in ("-V", "--version"):
        sys.stdout.write(f"cytoloop {__version__}\n")
        return 0
    verb = ALIASES.get(verb, verb)
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, [*VERBS, *ALIASES], n=1)
        hint = f"Did you mean `cytoloop {near[0]}`?" if near else f"One of {', '.join(VERBS)}."
        sys.stderr.write(f"cytoloop: unknown verb {verb!r}. {hint}\n")
        return 2
    if verb in WITHOUT_HYDRA:
        return int(importlib.import_module(f"cytoloop.cli.commands.{verb}").main(words[1:]))
    from cytoloop.cli.app import run_verb

    return run_verb(verb, words[1:])


if __name__ == "__main__":
    sys.exit(main())
