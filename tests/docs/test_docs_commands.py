"""Every command that the project shows composes, and lacks no required key."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import ROOT, Shown, shown_commands, yaml_examples
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from cytoloop.__main__ import ALIASES, WITHOUT_HYDRA
from cytoloop.cli.app import check_config
from cytoloop.cli.compose import composition_errors, expand_words, find_primary
from cytoloop.cli.overrides import bare_key, is_override
from cytoloop.errors import CytoloopError
from cytoloop.training.prepare.bounds import check_bounds

SHOWN = shown_commands()
NEED_A_RUN = ("resume", "rerun")
"""Keys of `train` that read an earlier run before anything is composed."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the site's configs: the repository's, and those that pages show."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    for name, text in yaml_examples().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _first_of_a_sweep(word: str) -> str:
    """Return an override with the first of its values; ``a=1,2`` becomes ``a=1``."""
    if not is_override(word):
        return word
    parsed = OverridesParser.create().parse_override(word)
    if not parsed.is_sweep_override():
        return word
    return f"{parsed.get_key_element()}={next(iter(parsed.sweep_string_iterator()))}"


def _compose(verb: str, given: list[str], check: bool) -> DictConfig:
    """Compose the config of a verb with these words, and check it."""
    of_a_run = [word for word in given if bare_key(word) in NEED_A_RUN]
    words = expand_words(verb, [word for word in given if word not in of_a_run])
    primary = find_primary(verb, words)
    overrides = [_first_of_a_sweep(word) for word in words if is_override(word)]
    overrides += [*of_a_run, "hydra.runtime.output_dir=out"]
    with (
        composition_errors(verb, overrides, primary),
        initialize_config_module(primary.module, version_base="1.3"),
    ):
        cfg = compose(primary.config, overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    if check:
        check_config(verb, cfg)
    if verb == "train" and primary.command == verb:
        check_bounds(cfg)
    return cfg


def _compose_one(shown: Shown) -> DictConfig:
    is_complete = shown.is_whole and not any(
        bare_key(word) in NEED_A_RUN or word == "--help" for word in shown.words()
    )
    return _compose(ALIASES.get(shown.verb, shown.verb), shown.words(), is_complete)


@dataclass
class Pack:
    """Commands of one verb whose overrides do not meet: one composition is enough for all."""

    verb: str
    commands: list[Shown]
    by_root: dict[str, set[str]]

    def add(self, shown: Shown) -> bool:
        """Add a command and return True, or return False if its overrides meet those here."""
        new: dict[str, set[str]] = {}
        for word in shown.words():
            root = re.split(r"[./=]", word.lstrip("+~"), maxsplit=1)[0]
            new.setdefault(root, set()).add(word)
        if any(self.by_root.get(root, words) != words for root, words in new.items()):
            return False
        self.by_root |= new
        self.commands.append(shown)
        return True


def _packs(commands: list[Shown]) -> list[Pack]:
    packs: list[Pack] = []
    for shown in sorted(commands, key=lambda one: len(one.words())):
        verb = ALIASES.get(shown.verb, shown.verb)
        alone = "im2im" in shown.text or shown.place.startswith("experiments/")
        open_packs = [pack for pack in packs if pack.verb == verb and not alone]
        if not any(pack.add(shown) for pack in open_packs):
            packs.append(Pack(verb, [], {}))
            packs[-1].add(shown)
    return packs


def _composable(commands: list[Shown]) -> list[Shown]:
    return [one for one in commands if one.verb not in WITHOUT_HYDRA and one.words()]


@pytest.mark.parametrize("verb", sorted({ALIASES.get(one.verb, one.verb) for one in SHOWN}))
def test_every_command_composes(verb: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    commands = [one for one in _composable(SHOWN) if ALIASES.get(one.verb, one.verb) == verb]
    wrong = []
    for pack in _packs(commands):
        words = list(dict.fromkeys(word for one in pack.commands for word in one.words()))
        try:
            _compose(verb, words, check=False)
        except CytoloopError:
            wrong += [text for one in pack.commands if (text := _fault(one))]
    assert not wrong, "\n".join(wrong)


def _fault(shown: Shown) -> str:
    """Return what is wrong with a command, or an empty text."""
    try:
        _compose_one(shown)
    except CytoloopError as error:
        return f"{shown.place}: {shown.text}\n  {error}"
    return ""


def test_whole_commands_lack_no_required_key(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A required key is given, or the command's recipe states it."""
    monkeypatch.chdir(site)
    required: dict[str, set[str]] = {}
    wrong = []
    for shown in _composable(SHOWN):
        keys = {bare_key(word) for word in shown.words()}
        if not shown.is_whole or keys & {*NEED_A_RUN, "--help", "--cfg"}:
            continue
        verb = ALIASES.get(shown.verb, shown.verb)
        if verb not in required:
            required[verb] = OmegaConf.missing_keys(_compose(verb, [], check=False))
        if required[verb] - keys:
            wrong += [text for text in [_fault(shown)] if text]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text, message",
    [
        ("cytoloop train data.path=x budget=15", "budget"),
        ("cytoloop train budget_minutes=15", "data.path"),
        ("cytoloop predict checkpoint=x postprocess=gauss", "gauss"),
        ("cytoloop train data.path=x layers=99", "layers"),
    ],
)
def test_a_wrong_command_would_be_found(text: str, message: str) -> None:
    assert message in _fault(Shown(text, "here")).partition("\n")[2]


def test_commands_are_found() -> None:
    """The search finds commands of all kinds, with their continuation lines."""
    places = {shown.place.split("/")[0] for shown in SHOWN}
    assert {"README.md", "docs", "configs", "experiments", "cytoloop --help"} <= places
    assert len(SHOWN) > 150
    assert any("\\d" in shown.text and "output=" in shown.text for shown in SHOWN)


def test_make_targets_scripts_and_extras_exist() -> None:
    """`make NAME`, `python benchmarks/NAME.py` and `cytoloop[NAME]` in the pages."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in set(re.findall(r"python ((?:benchmarks|scripts)/[\w/]+\.py)", text)):
        assert (ROOT / script).exists(), script
    for extras in set(re.findall(r"cytoloop\[([a-z0-9,]+)\]", text)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
