"""Every command on the pages is read by the program as it stands, and is run by a test or marked as not run.

A mark stands in front of a block: `<!-- not run here: why -->`, or `not run by tests` where a person runs it.
"""

import importlib
import re
import shlex

import pytest
from repository import ROOT

from mindcv_hrnet.cli import COMPLETION, PLAIN_JOBS, RECIPE_JOBS
from mindcv_hrnet.errors import CheckpointError, DataError
from mindcv_hrnet.jobs.completion import SHELLS
from mindcv_hrnet.recipe.config import parse_config

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "configs/hrnet/README.md", *(ROOT / "docs").glob("*.md")]
BLOCK = re.compile(r"(?:^<!-- (not run (?:here|by tests): [^>]+) -->\n\s*)?^( *)```(\w*)\n(.*?)^\2```$", re.M | re.S)
INLINE = re.compile(r"`((?:mindcv-hrnet|mpirun|msrun|python) [^`]+)`")
# in whose tables stand the commands of others
OTHERS = ("from_mindcv.md", "from_timm.md")
# what a reader fills in
PLACEHOLDERS = {
    "photos.yaml": "hrnet_w32_finetune",
    "RECIPE": "hrnet_w32_ascend",
    "NAME": "hrnet_w32_ascend",
    "...": "hrnet_w32_ascend",
}
SCRIPT = {"train.py": "train", "validate.py": "validate", "export.py": "export"}
# beginning of a command: the test that runs one of its kind; of two the longer one counts
RUN_BY = {
    "mindcv-hrnet --help": "test_cli.py::test_help_of_each_command",
    "mindcv-hrnet train": "integration/test_commands.py::test_a_run_folder_explains_itself",
    "mindcv-hrnet validate": "integration/test_commands.py::test_validation_counts_every_image_at_any_batch_size",
    "mindcv-hrnet export": "integration/test_commands.py::test_exported_file_alone_classifies",
    "mindcv-hrnet preview": "jobs/test_preview.py::test_one_row_per_image_and_one_tile_per_step",
    "mindcv-hrnet predict": "test_cli.py::test_predict_prints_ranked_classes",
    "mindcv-hrnet serve": "serving/test_docs.py::test_the_lines_with_curl",
    "mindcv-hrnet doctor": "jobs/test_doctor.py::test_this_machine",
    "mindcv-hrnet convert": "jobs/test_convert.py::test_there_and_back",
    "mindcv-hrnet verify": "jobs/test_verify.py::test_whole",
    "mindcv-hrnet report": "jobs/test_report.py::test_it_evaluates_as_validate_does",
    "mindcv-hrnet split": "data/test_splitting.py::test_the_command",
    "mindcv-hrnet recipes": "recipe/test_shelf.py::test_recipes_lists_titles",
    "mindcv-hrnet new": "recipe/test_shelf.py::test_new_begins_a_recipe",
    "mindcv-hrnet completion": "jobs/test_completion.py::test_bash_completes",
    "mpirun": "integration/test_ranks.py::test_mpirun_trains_and_validates",
    "msrun": "integration/test_ranks.py::test_msrun_starts_the_same_job",
    "python scripts/prepare_digits.py": "scripts/test_prepare_digits.py::test_digits_become_a_folder_that_loads",
    "python scripts/prepare_photos.py": "scripts/test_prepare_photos.py::test_tiles_make_up_the_photographs",
    "python examples/segmentation.py": "examples/test_examples.py::test_segmentation_learns",
    "python examples/keypoints.py": "examples/test_examples.py::test_keypoints_learn",
    "python scripts/prepare_imagenet.py": "data/test_packing.py::test_official_tars_are_laid_out",
    "python scripts/prepare_shards.py": "data/test_packing.py::test_a_folder_is_packed",
    "python scripts/benchmark_data.py": "data/test_benchmark_data.py::test_a_run_without_peers",
    "python scripts/list_messages.py": "docs/test_troubleshooting.py::test_the_table_is_that_of_the_code",
    "curl": "serving/test_docs.py::test_the_lines_with_curl",
    "serve run": "serving/test_ray.py::test_two_replicas_of_which_one_is_killed",
}
# They set up a shell or an environment, as the tests' own was
SET_UP = ("source ", ". ", "pip install ", "export ", "cd ", "git clone ", "python -m venv ")


def words_of(line):
    """The words of a line of shell without its comment; a variable set in front of the command is left out."""
    words = shlex.split(line.replace("'$(base64 -w0 cat.jpg)'", ""), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return words


def commands(text):
    """Each command of a block of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r" && ", line):
            if words_of(part.strip()):
                yield part.strip()


def blocks():
    """(page, mark or "", command) of each line of each block of shell."""
    for page in PAGES:
        for mark, _, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in ("bash", "sh", "console"):
                for command in commands(text):
                    yield page.name, mark, command


def inline():
    """(page, command) of each command inside a sentence or a table that has more than the command's name."""
    for page in PAGES:
        if page.name not in OTHERS:
            prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
            for text in INLINE.findall(prose):
                for command in commands(text):
                    words = words_of(command)
                    if len(words) > 2 and "COMMAND" not in words and words[1] not in ("-m", "-c"):
                        yield page.name, command


def job_of(words):
    """(job, its arguments) of a command of this package, with or without a launcher; ("", []) of another."""
    for place, word in enumerate(words[:-1] if words[0] == "mindcv-hrnet" else words):
        if word == "mindcv-hrnet":
            return words[place + 1], words[place + 2 :]
        if word in SCRIPT:
            return SCRIPT[word], words[place + 1 :]
    return "", []


def fill_in(word):
    """A word of a page as a command line could have it."""
    return "hrnet_w32_ascend" if word.endswith("/config.yaml") else PLACEHOLDERS.get(word, word)


def read_by_the_program(command):
    """Parse the command as the program does; files that it names need not be there."""
    words = words_of(command)
    job, arguments = job_of(words)
    arguments = [fill_in(word) for word in arguments]
    if job.startswith("-") or not job or "--help" in arguments:
        return
    assert job in {*RECIPE_JOBS, *PLAIN_JOBS}, f"no command {job}"
    if job == COMPLETION:  # it needs its package to begin
        assert arguments[0].split("|")[0] in SHELLS
        return
    try:
        if job in RECIPE_JOBS:
            parse_config(arguments, job)
        else:
            importlib.import_module(PLAIN_JOBS[job][0]).parse(arguments)
    except (DataError, CheckpointError):
        pass


IN_BLOCKS = list(blocks())


@pytest.mark.parametrize(("page", "mark", "command"), IN_BLOCKS)
def test_a_block(page, mark, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    read_by_the_program(command)
    spelt = " ".join(words_of(command))
    if mark or spelt.startswith(SET_UP):
        return
    assert not re.search(r"\btrain(\.py)? .*_ascend", spelt), "needs an Ascend: <!-- not run here: why -->"
    assert any(spelt.startswith(known) for known in RUN_BY), "no test runs it, and no mark says so"


def test_commands_in_sentences_are_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = list(inline())
    assert len(found) > 20
    for page, command in found:
        try:
            read_by_the_program(command)
        except Exception as error:
            pytest.fail(f"{page}: {command}: {error}")


def test_scripts_are_there_and_have_the_options():
    seen = 0
    for page in PAGES:
        for script, rest in re.findall(r"(?:python|bash) (scripts/\w+\.(?:py|sh))([^`\n|#]*)", page.read_text("utf-8")):
            source = (ROOT / script).read_text(encoding="utf-8")
            for module in re.findall(r"^(?:from|import) (\w+)", source, re.M):
                if (ROOT / f"scripts/{module}.py").is_file():
                    source += (ROOT / f"scripts/{module}.py").read_text(encoding="utf-8")
            options = set(re.findall(r"(?<= )--[a-z][\w-]*", rest.split("&&")[0])) if script.endswith(".py") else set()
            assert {option for option in options if f'"{option}"' not in source} == set(), (page.name, script)
            seen += 1
    assert seen > 15


def test_the_tests_are_there():
    for test in RUN_BY.values():
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text(encoding="utf-8"), re.M), test


def test_each_command_has_a_test():
    assert {*RECIPE_JOBS, *PLAIN_JOBS} <= {known.split()[1] for known in RUN_BY if known.startswith("mindcv-hrnet ")}


def test_extras_are_declared():
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M))
    for page in PAGES:
        for extras in re.findall(r"(?:mindcv-hrnet|\.)\[([\w,]+)\]['\"]", page.read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= declared, page.name


def test_one_spelling():
    """`mindcv-hrnet`, and `train.py` behind a launcher alone."""
    for page in PAGES:
        if page.name not in (*OTHERS, "index.md"):
            for line in page.read_text(encoding="utf-8").splitlines():
                assert not re.search(r"python -m mindcv_hrnet|(?<!-n \d )python (train|validate|export)\.py", line), (
                    line
                )


def test_a_wrong_command_is_noticed(monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in ("mindcv-hrnet train -c RECIPE --epochz 3", "mpirun -n 2 python train.py --lr nothing"):
        with pytest.raises(Exception, match=r"epochz|lr"):
            read_by_the_program(command)
    for command in ("mindcv-hrnet convert one", "mindcv-hrnet report --colour red RUN", "mindcv-hrnet trian"):
        with pytest.raises((Exception, AssertionError)):
            read_by_the_program(command)
