import csv
import io
import json
import os
import re

import pytest

from trainer.commands import predict
from trainer.data.decode.image_files import find_images
from trainer.engine.predictor import Prediction
from trainer.process.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "pets/cat.jpg",
        "pets/Dog.PNG",
        "pets/deep/größe 1.webp",
        "pets/deep/notes.txt",
        "pets/.hidden.jpg",
        "pets/.thumbnails/cat.jpg",
        "[1].jpg",
        "odd.dat",
        "empty/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["pets"], ["pets/Dog.PNG", "pets/cat.jpg", "pets/deep/größe 1.webp"]),
        (["pets/"], ["pets/Dog.PNG", "pets/cat.jpg", "pets/deep/größe 1.webp"]),
        (["pets/*.jpg"], ["pets/cat.jpg"]),
        (["pets/**/*.webp"], ["pets/deep/größe 1.webp"]),
        (["**/*.[jw]*"], ["[1].jpg", "pets/cat.jpg", "pets/deep/größe 1.webp"]),
        (["[1].jpg"], ["[1].jpg"]),
        (["odd.dat"], ["odd.dat"]),  # named outright
        (["pets/.hidden.jpg"], ["pets/.hidden.jpg"]),
        (["odd.dat", "pets/cat.jpg", "odd.dat"], ["odd.dat", "pets/cat.jpg"]),
        (["pets/cat.jpg", "pets"], ["pets/cat.jpg", "pets/Dog.PNG", "pets/deep/größe 1.webp"]),
    ],
)
def test_find_images(tree, words, found):
    assert find_images(words) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no images: name files, folders or globs"),
        (["nowhere.jpg"], "nowhere.jpg: no such file, or no images (.bmp, .gif, .jpeg"),
        (["pets", "empty"], "empty: no such file, or no images"),
        (["*.tiff"], "*.tiff: no such file, or no images"),
    ],
)
def test_find_images_refuses(tree, words, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        find_images(words)


PREDICTIONS = (
    Prediction("a b.jpg", ("cat", "dog"), (0.75, 0.25)),
    Prediction('b,"c".png', error="[/x] cut, short"),
    Prediction("größe [red]:smile:.png", ("dog", "cat"), (0.5000001, 0.4999999)),
)


def printed(printer, top):
    stream = io.StringIO()
    printer(iter(PREDICTIONS), top, stream)
    return stream.getvalue()


def test_csv():
    assert printed(predict._print_csv, 1) == (
        "path,rank,class,score,error\n"
        "a b.jpg,1,cat,0.750000,\n"
        '"b,""c"".png",,,,"[/x] cut, short"\n'
        "größe [red]:smile:.png,1,dog,0.500000,\n"
    )
    rows = list(csv.reader(io.StringIO(printed(predict._print_csv, 5))))
    assert [row[:3] for row in rows[1:]] == [
        ["a b.jpg", "1", "cat"],
        ["a b.jpg", "2", "dog"],
        ['b,"c".png', "", ""],
        ["größe [red]:smile:.png", "1", "dog"],
        ["größe [red]:smile:.png", "2", "cat"],
    ]


def test_json_lines():
    lines = printed(predict._print_json_lines, 1).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": "a b.jpg", "classes": ["cat"], "scores": [0.75]},
        {"path": 'b,"c".png', "error": "[/x] cut, short"},
        {"path": "größe [red]:smile:.png", "classes": ["dog"], "scores": [0.5000001]},
    ]
    assert "größe" in lines[2]


def test_table():
    lines = [line.split() for line in printed(predict._print_table, 2).splitlines()]
    assert [line for line in lines if line and not line[0].startswith("─")] == [
        ["image", "class", "score"],
        ["a", "b.jpg", "cat", "0.7500"],
        ["dog", "0.2500"],
        ['b,"c".png', "[/x]", "cut,", "short"],
        ["größe", "[red]:smile:.png", "dog", "0.5000"],
        ["cat", "0.5000"],
    ]


def test_a_long_path_is_not_cut():
    stream = io.StringIO()
    path = "/".join(["directory"] * 60) + ".jpg"
    predict._print_table(iter([Prediction(path, ("cat",), (1.0,))]), 1, stream)
    assert path in stream.getvalue()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["x.jpg"], "graft: --model: required; an export, or the --workdir of a run\n"),
        (["--model=.", "x.jpg"], "graft: --model=.: holds no exported model (saved_model.pb)\n"),
        (["--model=m", "--top=0", "x.jpg"], "graft: --top=0: must be at least 1\n"),
        (["x.jpg", "--batch_size=0"], "graft: --batch_size=0: must be at least 1\n"),
        (["--format=xml"], "graft: flag --format=xml: value should be one of <table|csv|jsonl>"),
        (["--model=m"], "graft: no images: name files, folders or globs\n"),
        (["--model=r", "none.jpg"], "graft: none.jpg: no such file, or no images"),
    ],
)
def test_refusals(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for directory in ("m", os.path.join("r", "export")):
        os.makedirs(directory)
        with open(os.path.join(directory, "saved_model.pb"), "w"):
            pass
    assert predict.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
