"""Pages of the reference that are made from `configs/`: one for each verb and for each group."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from config_tables import Section, meanings, read_head, read_sections, to_markdown

from cytoloop.__main__ import VERBS, WITHOUT_HYDRA

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = {
    "experiment": "The recipe: a few values over the defaults of the other groups. What a recipe "
    "leaves `auto`, the plan of a training sets from the images.",
    "model": "What the network learns: its outputs (heads), their losses, and the score that "
    "selects the best checkpoint.",
    "model/network": "The network. Each one works with each `model`.",
    "model/size": "The number of features at the first level of the network.",
    "data": "Patches, batches, threads and the image cache of a training.",
    "normalization": "How grey levels become the numbers that the network receives. The rule is "
    "kept in the checkpoint, and prediction applies it.",
    "preparation": "Steps that change every image, in training and in prediction.",
    "augmentation": "Random changes of the training patches.",
    "optimizer": "The optimizer; the group becomes `model.optimizer`.",
    "schedule": "The learning rate over the budget; the group becomes `model.lr_scheduler`.",
    "callbacks": "Checkpoints, progress, pictures and a clean stop.",
    "logger": "Where a training is recorded.",
    "trainer": "Lightning's Trainer: hardware, precision and budget.",
    "finetune": "What learns when a training starts from an earlier model (`init_from=`).",
    "postprocess": "From probability maps to masks and objects.",
    "workflow": "The steps of `cytoloop classic`, for a kind of structure.",
    "synthesis": "What synthetic images show: ranges, from which each image draws.",
    "study": "The factors of a study and their levels.",
    "paths": "Folders that a command uses.",
}
"""What each group decides. A group of `configs/` that is missing here ends the build."""
OWN_GROUPS = ("hydra",)
"""Groups of Hydra itself, without a page."""


def group_names() -> list[str]:
    """Return the groups of `configs/`, in the order of `GROUPS`.

    Raises
    ------
    KeyError
        A group has no entry in `GROUPS`.
    """
    folders = {path.parent.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/**/*.yaml")}
    found = {name for name in folders if name.split("/")[0] not in OWN_GROUPS}
    if missing := found - GROUPS.keys():
        raise KeyError(f"GROUPS in scripts/site/config_pages.py lacks {sorted(missing)}")
    return [name for name in GROUPS if name in found]


def verb_names() -> list[str]:
    """Return the verbs that have a config."""
    return [verb for verb in VERBS if verb not in WITHOUT_HYDRA]


def group_file(group: str) -> str:
    """Return the name of a group's page."""
    return f"{group.replace('/', '-')}.md"


def verb_page(verb: str) -> str:
    """Return the page of a verb: what it does, examples, groups, keys."""
    path = CONFIGS / f"{verb}.yaml"
    what, _, *cost = read_head(path)
    groups = _groups_of(path)
    parts = [
        f"# cytoloop {verb}\n",
        f"{_sentence(what)} {' '.join(cost)}\n",
        "```sh\n" + "\n".join(_examples(verb)) + "\n```\n",
        "`key=value` sets a key. `--cfg job` prints the composed config, `--help` the keys that "
        "are used most.\n",
        "## Keys\n",
        to_markdown(read_sections(path)),
    ]
    if groups:
        rows = [
            f"| [`{group}`](../groups/{group_file(group)}) | `{default}` | {GROUPS[group]} |"
            for group, default in groups.items()
        ]
        parts += ["## Groups\n", "`group=option` chooses another option.\n"]
        parts.append("\n".join(["| group | default | what it decides |", "|---|---|---|", *rows]))
    return "\n".join(parts) + "\n"


def group_page(group: str) -> str:
    """Return the page of a group: its options, then the keys of each option."""
    options = sorted((CONFIGS / group).glob("*.yaml"))
    known = meanings(sorted(options, key=lambda path: bool(_bases(path))))
    parts = [f"# {group}\n", f"{GROUPS[group]}\n", "| option | what it is |", "|---|---|"]
    parts += [f"| [`{path.stem}`](#{path.stem}) | {_option(path)} |" for path in options]
    for path in options:
        what, command, *rest = [*read_head(path), ""]
        is_command = command.startswith("cytoloop ")
        parts += ["", f"## {path.stem} {{#{path.stem}}}\n", _sentence(what)]
        parts.append(" ".join(rest if is_command else [command, *rest]).strip() + "\n")
        if is_command:
            parts.append(f"```sh\n{command}\n```\n")
        if bases := _bases(path):
            parts.append(f"Based on {', '.join(bases)}; this option changes:\n")
        sections: list[Section] = read_sections(path)
        parts.append(to_markdown(sections, known) if sections else "")
    return "\n".join(parts) + "\n"


def index_page() -> str:
    """Return the page that lists all verbs and groups."""
    verbs = [f"| [`{verb}`](commands/{verb}.md) | {VERBS[verb]} |" for verb in verb_names()]
    verbs += [f"| `{verb}` | {VERBS[verb]} |" for verb in WITHOUT_HYDRA]
    groups = [
        f"| [`{name}`](groups/{group_file(name)}) | "
        f"{', '.join(f'`{path.stem}`' for path in sorted((CONFIGS / name).glob('*.yaml')))} "
        f"| {GROUPS[name]} |"
        for name in group_names()
    ]
    head = "# Commands and config groups\n\nThese pages are made from the YAML files in `configs/`."
    tables = [head, "", "## Commands\n", "| command | what it does |", "|---|---|", *verbs, ""]
    tables += ["## Groups\n", "| group | options | what it decides |", "|---|---|---|", *groups, ""]
    return "\n".join(tables)


def _option(path: Path) -> str:
    return _sentence(read_head(path)[0]).replace("|", "\\|")


def _sentence(line: str) -> str:
    """Return the first line of a config without its label, `Train: a U-Net ...`."""
    text = re.sub(r"^[A-Z][\w-]*: ", "", line)
    return text[0].upper() + text[1:]


def _examples(verb: str) -> list[str]:
    """Return the examples of a verb's help text."""
    template = yaml.safe_load((CONFIGS / f"hydra/help/{verb}.yaml").read_text(encoding="utf-8"))
    text = template["template"].partition("Examples:\n")[2].partition("\n\n")[0]
    return [line.removeprefix("  ") for line in text.splitlines()]


def _defaults(path: Path) -> list[object]:
    config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return list(config.get("defaults", []))


def _groups_of(path: Path) -> dict[str, str]:
    """Return the groups in the defaults list of a verb, with the default option."""
    pairs = [item for item in _defaults(path) if isinstance(item, dict)]
    flat = {str(key): str(value) for item in pairs for key, value in item.items()}
    return {key: flat[key] for key in flat if key in GROUPS}


def _bases(path: Path) -> list[str]:
    """Return links to the options of the same group on which an option is based."""
    names = [item for item in _defaults(path) if isinstance(item, str) and item != "_self_"]
    return [f"[`{name}`](#{name})" for name in names]
