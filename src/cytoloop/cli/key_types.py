"""Types of the keys of each verb, which decide how a typed value is read.

A YAML config states no type for a key without a default (``null``, ``???``). A test checks that
every such key has its type here.
"""

from __future__ import annotations

from enum import Enum


class KeyType(Enum):
    """What a typed value stands for. ``null`` is no value, whatever the type.

    Attributes
    ----------
    TEXT
        One text: a path, a pattern, a URI, a name.
    FLAG_OR_TEXT
        ``true``, ``false`` or a text.
    TEXTS
        One text, or a list of texts in square brackets.
    TEXTS_OR_MAPPING
        Texts, or a mapping in curly brackets.
    NUMBER_OR_TEXTS
        A number, or texts.
    VALUE
        Numbers, switches, choices and whatever else Hydra's grammar holds.
    """

    TEXT = "text"
    FLAG_OR_TEXT = "flag or text"
    TEXTS = "texts"
    TEXTS_OR_MAPPING = "texts or mapping"
    NUMBER_OR_TEXTS = "number or texts"
    VALUE = "value"


def key_type(verb: str, key: str) -> KeyType:
    """Return the type of a key of a verb; `KeyType.VALUE` for an unknown key.

    >>> key_type("curate", "raw").value
    'text'
    """
    if verb == "study" and key.startswith("factors.") and key.count(".") == 2:
        return KeyType.TEXTS_OR_MAPPING  # factors.NAME.LEVEL
    return _TYPES.get(verb, {}).get(key) or _OF_EVERY_VERB.get(key) or KeyType.VALUE


def _types(**keys: str) -> dict[str, KeyType]:
    """Return the type of each key, from the names of the keys of each type."""
    return {key: KeyType[name.upper()] for name, names in keys.items() for key in names.split()}


_OF_EVERY_VERB = _types(
    text="output paths.runs_dir paths.output_dir paths.cache_dir paths.check_cache",
    texts="trust",
)

_TRAINING = {
    "text": "data.path data.replay_path data.cache_dir",
    "texts": "tags",
    "number_or_texts": "classes",
}

_TYPES = {
    "curate": _types(
        text="raw seg1 seg2 merge exclude parent decisions key group predictions "
        "exclude_rules channel channel_seg1 channel_seg2 scene scene_seg1 scene_seg2 "
        "axes axes_seg1 axes_seg2 base_image merge_rule export scheduler",
        number_or_texts="valid test",
    ),
    "annotate": _types(text="data.path project title format split"),
    "combine": _types(text="data.path prefer", texts="logs"),
    "check": _types(
        text=_TRAINING["text"] + " scheduler",
        texts=_TRAINING["texts"],
        number_or_texts=_TRAINING["number_or_texts"],
        flag_or_text="plan preview",
    ),
    "train": _types(
        text=_TRAINING["text"] + " task_name experiment_name run_name encoder_weights register "
        "task checkpoint.ckpt_path logger.mlflow.tracking_uri logger.mlflow.experiment_name "
        "logger.mlflow.run_id",
        texts=_TRAINING["texts"] + " export",
        number_or_texts=_TRAINING["number_or_texts"],
        flag_or_text="plan init_from resume rerun",
    ),
    "predict": _types(
        text="checkpoint input calibrate reprocess scheduler scene axes", texts="channel"
    ),
    "evaluate": _types(
        text="predictions truth annotator2 key scene axes axes_truth scheduler",
        number_or_texts="classes",
    ),
    "classic": _types(text="input scene axes", texts="channel"),
    "compare": _types(text="a b score", texts="more"),
    "models": _types(
        text="checkpoint name a b truth input score about.description about.license",
        texts="about.authors",
    ),
    "study": _types(text="data.path score experiment_name scheduler", texts="base"),
    "rank": _types(text="models_of input labelled", texts="predictions"),
    "history": _types(text="checkpoint"),
    "status": _types(text="run"),
    "cancel": _types(text="run"),
    "view": _types(text="data.path input predictions"),
}
