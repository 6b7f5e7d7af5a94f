"""The script and the notebook of examples/, and the code of docs/python.md, as a user runs them."""

import ast
import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

import trainer
from tests.inputs import tiny
from tests.processes import notebooks
from tests.processes.commands import metrics, python, script

ROOT = Path(trainer.__file__).parents[1]
SCRIPT = ROOT / "examples" / "train_my_pictures.py"
NOTEBOOK = ROOT / "examples" / "own_pictures.ipynb"
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

# Before the script: Ctrl-C at the first steps.
INTERRUPTED = """
import os, signal
from trainer.engine.train_step import TrainStep
def interrupted(self, *arguments, run=TrainStep.run):
    os.kill(os.getpid(), signal.SIGINT)
    return run(self, *arguments)
TrainStep.run = interrupted
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pictures by class, of which one is in the wrong folder, others, and a backbone."""
    root = tmp_path_factory.mktemp("examples")
    tiny.write_folder(root / "pictures", train=32, validation=8)
    tiny.write_images(root / "new", {"red": 1}, seed=3)
    (root / "new" / "red" / "000.png").rename(root / "new" / "red.png")
    shutil.copy(root / "new" / "red.png", root / "pictures" / "validation" / "blue")
    (root / "new" / "broken.png").write_bytes(b"no picture")
    tiny.write_backbone(root / "backbone")
    return root


@pytest.mark.integration
def test_the_script_is_stopped_and_resumed_and_shows_its_mistakes(root):
    words = [root / "pictures", root / "run", f"--backbone={root}/backbone", "--num_epochs=20"]
    process = script(INTERRUPTED + SCRIPT.read_text(), *words)
    assert process.returncode == 130
    assert process.stderr == "stopped by Ctrl-C after step 1; the same command resumes\n"
    process = python(SCRIPT, *words)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "resuming   after step 1 of 60" in process.stdout
    assert metrics(root / "run")["eval"]["accuracy"] == 24 / 25
    with open(root / "run" / "report" / "predictions.csv") as stream:
        (row,) = (row for row in csv.DictReader(stream) if row["label"] != row["prediction"])
    assert process.stdout.splitlines()[-4:] == [
        "mistakes   1, the most confident first",
        f"  validation/blue/red.png is predicted as red, score {float(row['confidence']):.2f}",
        "export     predicts 24 of 25 validation images as labelled",
        f"accuracy   0.9600; see {root}/run/report/index.html",
    ]


@pytest.mark.integration
def test_the_script_refuses_a_wrong_folder_in_one_line(tmp_path):
    process = script(SCRIPT.read_text(), tmp_path / "nowhere", tmp_path / "run")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        f"error: --dataset={tmp_path}/nowhere: no such path; it must be a directory, "
        "a .csv or .jsonl import file, or a TFDS name\n"
    )


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def texts(cell):
    """The lines that a cell's outputs show, by the kind of output."""
    found = {}
    for output in cell["outputs"]:
        data = output.get("data", {})
        kind = output.get("name") or " ".join([output["output_type"], *sorted(data)])
        found[kind] = "".join(output.get("text") or data["text/plain"]).splitlines()
    return found


def test_the_notebook_is_kept_as_it_was_executed():
    content = NOTEBOOK.read_text(encoding="utf-8")
    assert len(content) < 200_000
    notebook = json.loads(content)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}] * len(notebook["cells"])
    cells = code_cells(NOTEBOOK)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        tree = ast.parse(source(cell))
        has_value = isinstance(tree.body[-1], ast.Expr)
        assert bool(cell["outputs"]) == (has_value or "print(" in source(cell))
        for kind, lines in texts(cell).items():
            assert kind == "stdout" or kind.startswith("execute_result ")
            assert [line for line in lines if re.search(r"(?<![\w.])[/~]", line)] == []


@pytest.mark.integration
def test_the_notebook_runs_and_shows_what_is_kept(tmp_path):
    process = notebooks.execute(NOTEBOOK, tmp_path / "executed.ipynb")
    assert process.returncode == 0, process.stderr

    def shown(cell):
        """Without figures, and of training, which tells of its speed, the last line."""
        first = -1 if re.search(r"trainer\.(train|export)\(", source(cell)) else 0
        return {
            kind: [re.sub(r"\d[\d.,]*", "#", line) for line in lines[first:]]
            for kind, lines in texts(cell).items()
        }

    executed, kept = code_cells(tmp_path / "executed.ipynb"), code_cells(NOTEBOOK)
    assert list(map(shown, executed)) == list(map(shown, kept))
    printed = "\n".join(line for cell in executed for line in texts(cell).get("stdout", []))
    assert re.findall(r"(\S+\.png) is predicted as (\w+)", printed) == [
        ("triangle/11.png", "circle"),
        ("square/06.png", "triangle"),
    ]


@pytest.mark.integration
def test_the_code_of_the_page_about_python_runs(root, monkeypatch):
    program = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    embedded = 'backbone="efficientnet_lite0"'  # in its place the one of the tests, which is small
    assert program.count(embedded) == 1
    program = (
        program.replace(embedded, 'backbone="backbone"')
        + """
import json
print(json.dumps([result.metrics["global_step"], evaluation.num_examples, directory, curve.points]))
"""
    )
    monkeypatch.chdir(root)
    process = script(program)
    assert (process.returncode, process.stderr) == (0, "")
    printed = process.stdout.splitlines()
    refused = "--learning_rate=-1.0: must be a finite number, at least 0"
    assert refused in printed
    assert f"# {refused}" in PAGE
    assert "new/broken.png not a JPEG, PNG, GIF, BMP or WebP image" in printed
    step, num_examples, directory, points = json.loads(printed[-1])
    assert (step, num_examples, directory) == (15, 96, "runs/pets/export")
    assert [step for step, _ in points] == [3, 6, 9]
    assert (root / directory / "model.tflite").stat().st_size > 1000


def rows(heading):
    """What the first column of the tables in a section of the page names."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return [name.strip("`").removesuffix("()") for cell in cells for name in cell.split(", ")]


def test_the_page_about_python_names_all_there_is():
    public = {name: getattr(trainer, name) for name in trainer.__all__}
    classes = {name for name, value in public.items() if isinstance(value, type)}
    errors = {name for name in classes if issubclass(public[name], Exception)}
    assert sorted(rows("Errors")) == sorted({*errors, "OSError"})
    fields = [field.name for field in dataclasses.fields(trainer.Result)]
    assert sorted(rows("train, Result")) == sorted([*fields, "mistakes"])
    assert {
        name for name in public if f"`{name}`" not in PAGE and f"trainer.{name}" not in PAGE
    } == {"__version__"}
