"""The catalogue of models, and the tables ``[models."NAME"]``."""

import subprocess
import sys
from pathlib import Path

from docs.generate import ROOT, render
from tests.config.reading import loaded, problems
from tests.support.table import table
from ztoapi.config.catalogue import Catalogue, first_day, zai_models
from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import DEFAULT_MODEL, Config, ModelFacts

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")


def test_the_catalogue_is_documented() -> None:
    assert (ROOT / "docs/models.md").read_text("utf-8") == render("models.md"), "run python -m docs.generate"


@table(("name", "facts"), zai_models().items())
def test_every_entry_is_valid_in_a_configuration_too(tmp_path: Path, name: str, facts: ModelFacts) -> None:
    text = (ROOT / "ztoapi/config/models.toml").read_text("utf-8")
    table = next(part for part in text.split("\n\n") if part.startswith(f'[models."{name}"]'))
    (tmp_path / "ztoapi.toml").write_text(table)
    assert loaded(tmp_path).config.models == {name: facts}
    assert name == name.lower()
    assert facts.since is not None and first_day(facts.since) is not None
    assert facts.thinking is not None and facts.inputs is not None and "text" in facts.inputs
    assert list(facts.reasoning_efforts or ()) == [
        effort for effort in EFFORTS if effort in (facts.reasoning_efforts or ())
    ]


def test_the_default_model_is_the_flagship() -> None:
    assert DEFAULT_MODEL in zai_models()
    assert Config().model_name == KINDS["zai"].model == DEFAULT_MODEL
    flagship = zai_models()[DEFAULT_MODEL]
    assert (flagship.context_tokens, flagship.max_output_tokens, flagship.thinking) == (1_000_000, 131_072, "always")
    assert (flagship.input_price, flagship.output_price, flagship.cached_input_price) == (1.4, 4.4, 0.26)


def test_a_table_overrides_single_facts_and_adds_models(tmp_path: Path) -> None:
    (tmp_path / "ztoapi.toml").write_text(
        '[models."GLM-5.2"]\nthinking = "always"\nreasoning_efforts = []\n[models.mine]\ncontext_tokens = 1000\n'
    )
    catalogue = Catalogue(loaded(tmp_path).config.models)
    changed, known = catalogue.find("glm-5.2", "zai"), zai_models()["glm-5.2"]
    assert changed is not None
    assert (changed.thinking, changed.reasoning_efforts) == ("always", ())
    assert (changed.context_tokens, changed.input_price) == (known.context_tokens, known.input_price)
    assert catalogue.find("MINE", "zai") == ModelFacts(context_tokens=1000)
    assert catalogue.find("glm-9", "zai") is None


def test_other_platforms_have_the_configured_facts_only() -> None:
    catalogue = Catalogue({"glm-4.6": ModelFacts(context_tokens=32768)})
    assert catalogue.find("GLM-4.6", "openai") == ModelFacts(context_tokens=32768)
    assert catalogue.find("glm-5.3", "openai") is None
    assert catalogue.find("glm-4.6", "zai_web") is None
    assert catalogue.find("glm-4.6", "zread") is None


@table(
    ("text", "problem"),
    [
        ("models = 3", "models (ztoapi.toml line 1): must be a table"),
        ("[models]\nx = 3", "models.x (ztoapi.toml line 2): must be a table"),
        (
            "[models.x]\ncontext = 3",
            "models.x.context (ztoapi.toml line 2): unknown option; did you mean context_tokens?",
        ),
        ("[models.x]\ncontext_tokens = 0", "models.x.context_tokens (ztoapi.toml line 2): must be a whole number"),
        ('[models."a.b"]\nthinking = "often"', "models.a.b.thinking (ztoapi.toml line 2): must be one of always"),
        ('[models.x]\ninputs = ["smell"]', "models.x.inputs (ztoapi.toml line 2): each must be one of text"),
        ('[models.x]\nreasoning_efforts = ["huge"]', "models.x.reasoning_efforts (ztoapi.toml line 2): each must be"),
        ('[models.x]\nsince = "2026-02-30"', "models.x.since (ztoapi.toml line 2): is no day of the calendar"),
        ('[models.x]\nsince = "May"', "models.x.since (ztoapi.toml line 2): must be a date in quotes"),
        ("[models.x]\ninput_price = -1", "models.x.input_price (ztoapi.toml line 2): must be a number"),
        ("[models.x]\n[models.X]", "models.X (ztoapi.toml line 2): is a duplicate"),
    ],
)
def test_mistakes_are_reported_with_their_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "ztoapi.toml").write_text(text)
    (found,) = problems(tmp_path)
    assert found.startswith(problem)


def test_importing_the_catalogue_opens_no_file() -> None:
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "import ztoapi.config.catalogue\n"
        "assert not [name for name in opened if name.endswith('.toml')], opened\n"
        "ztoapi.config.catalogue.zai_models()\n"
        "assert [name for name in opened if name.endswith('models.toml')]\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
