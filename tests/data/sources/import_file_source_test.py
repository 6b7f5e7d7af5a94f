import json
import re

import pytest

from trainer.data.sources.import_file_source import are_import_files, open_import_files
from trainer.data.sources.listed_source import split_by_hash
from trainer.process.errors import UserError


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def write_images(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())


def found(source, split):
    examples = source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
    return sorted(
        (e["id"].decode(), source.class_names[e["label"]], e["encoded"].decode()) for e in examples
    )


def item(image, label, ml_use=None):
    row = {"imageGcsUri": image, "classificationAnnotation": {"displayName": label}}
    if ml_use is not None:
        row["dataItemResourceLabels"] = {"aiplatform.googleapis.com/ml_use": ml_use}
    return json.dumps(row, ensure_ascii=False)


CSV = """training,1.png,cat
TRAINING, sub/2.png , dog
"validation","größe, drei.png","cat"

test,4.png,"a, ""b"" dog"
Training,5.png,"a, ""b"" dog"\r
"""
JSON_LINES = "\n".join(
    [
        item("1.png", "cat", "training"),
        item("sub/2.png", "dog", "training"),
        "",
        item("größe, drei.png", "cat", "validation"),
        item("4.png", 'a, "b" dog', "test"),
        item("5.png", 'a, "b" dog', "training"),
    ]
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.csv", CSV),
        ("DATA.CSV", CSV),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("crlf.csv", CSV.replace("\r", "").replace("\n", "\r\n")),
        ("data.jsonl", JSON_LINES),
        ("bom.jsonl", b"\xef\xbb\xbf" + JSON_LINES.encode()),
        ("crlf.jsonl", JSON_LINES.replace("\n", "\r\n")),
    ],
)
def test_rows(tmp_path, name, text):
    write_images(tmp_path, "1.png", "sub/2.png", "größe, drei.png", "4.png", "5.png")
    source = open_import_files(write(tmp_path, name, text))
    label = 'a, "b" dog'
    assert source.class_names == (label, "cat", "dog")
    assert found(source, "train") == [
        ("1.png", "cat", "1.png"),
        ("5.png", label, "5.png"),
        ("sub/2.png", "dog", "sub/2.png"),
    ]
    assert found(source, "validation") == [("größe, drei.png", "cat", "größe, drei.png")]
    assert found(source, "test") == [("4.png", label, "4.png")]


@pytest.mark.parametrize("kind", ["two columns", "an empty column", "unassigned", "jsonl"])
def test_without_ml_use_the_split_is_by_hash(tmp_path, kind):
    rows = [(f"{i}.png", "ab"[i % 2]) for i in range(60)]
    write_images(tmp_path, *(image for image, _ in rows))
    if kind == "jsonl":
        path = write(tmp_path, "data.jsonl", "\n".join(item(*row) for row in rows))
    else:
        first = {"two columns": "", "an empty column": ",", "unassigned": "UNASSIGNED,"}[kind]
        text = "".join(f"{first}{image},{label}\n" for image, label in rows)
        path = write(tmp_path, "data.csv", text)
    source = open_import_files(path)
    for split in ("train", "validation"):
        expected = sorted(image for image, _ in rows if split_by_hash(image) == split)
        assert [image for image, _, _ in found(source, split)] == expected
        assert expected


def test_absolute_paths_and_other_buckets(tmp_path):
    write_images(tmp_path, "images/1.png", "images/2.png")
    images = tmp_path / "images"
    (tmp_path / "lists").mkdir()
    text = f"training,{images}/1.png,a\ntraining,../images/2.png,b\ntest,gs://bucket/3.png,b\n"
    source = open_import_files(write(tmp_path / "lists", "data.csv", text))
    assert [content for _, _, content in found(source, "train")] == ["images/2.png", "images/1.png"]
    assert source._splits["test"].paths == ("gs://bucket/3.png",)


def test_a_line_separator_inside_a_label(tmp_path):
    write_images(tmp_path, "1.png", "2.png")
    text = f"{item('1.png', 'a' + chr(0x2028) + 'b', 'training')}\n{item('2.png', 'c', 'training')}"
    source = open_import_files(write(tmp_path, "data.jsonl", text))
    assert source.class_names == ("a\u2028b", "c")


GOOD = "training,1.png,a\ntraining,2.png,b\n"
GOOD_JSON = item("1.png", "a", "training") + "\n" + item("2.png", "b", "training") + "\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.csv", "", ": no images"),
        ("d.csv", "\n\n", ": no images"),
        ("d.csv", "training,1.png,a\ntraining,2.png,a\n", " holds 1 class (a); a classifier"),
        ("d.csv", GOOD + "3.png\n", ": line 3: 1 columns; must be [ML_"),
        ("d.csv", GOOD + "\ntest,3.png,a,b\n", ": line 4: 4 columns; must be [ML_USE,]PATH,LABEL"),
        ("d.csv", GOOD + "holdout,3.png,a\n", ": line 3: ML_USE is 'holdout'; training, valid"),
        ("d.csv", GOOD + "test,,a\n", ": line 3: must name an image and its label"),
        ("d.csv", GOOD + "test,3.png,\n", ": line 3: must name an image and its label"),
        ("d.csv", GOOD + "test,1.png,a\n", ": line 3: 1.png is already in line 1"),
        ("d.csv", GOOD + "test,3.png,c\n", ": label 'c' of split 'test' is not in train"),
        pytest.param(
            "d.csv", GOOD + "x" * 140_000, ": line 3: field larger than field limit", id="field"
        ),
        ("d.csv", GOOD.encode() + b"test,caf\xe9.png,a\n", ": must be UTF-8 text ("),
        ("d.jsonl", "", ": no images"),
        ("d.jsonl", GOOD_JSON + "{", ": line 3: must be a JSON object with imageGcsUri and"),
        ("d.jsonl", GOOD_JSON + "\n[]", ": line 4: must be a JSON object with imageGcsUri and"),
        ("d.jsonl", GOOD_JSON + '{"imageGcsUri": "3.png"}', ": line 3: must be a JSON object"),
        ("d.jsonl", GOOD_JSON + item(None, "a"), ": line 3: must be a JSON object"),
        ("d.jsonl", GOOD_JSON + item("3.png", None), ": line 3: must be a JSON object"),
        ("d.jsonl", GOOD_JSON + item("3.png", 7), ": line 3: must be a JSON object"),
        ("d.jsonl", GOOD_JSON + item("3.png", "a", 1), ": line 3: must be a JSON object"),
        ("d.jsonl", GOOD_JSON + item("3.png", "a", "dev"), ": line 3: ML_USE is 'dev'"),
        ("d.jsonl", GOOD_JSON + item("2.png", "a", "test"), ": line 3: 2.png is already in line 2"),
        ("d.jsonl", GOOD_JSON + item("3.png", "c", "test"), ": label 'c' of split 'test' is not"),
    ],
)
def test_refusals(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(UserError, match=re.escape(f"--dataset={path}{message}")):
        open_import_files(path)


def test_several_files_are_one_data_set(tmp_path):
    write_images(tmp_path, "a/1.png", "a/2.png", "b/3.png")
    (tmp_path / "a" / "training-00001-of-00002").write_text(item("1.png", "x", "training"))
    (tmp_path / "a" / "training-00002-of-00002").write_text(item("2.png", "y", "training"))
    (tmp_path / "b" / "validation.csv").write_text("validation,3.png,y\n")
    dataset = f"{tmp_path}/a/training-*,{tmp_path}/b/validation.csv"
    assert are_import_files(dataset)
    source = open_import_files(dataset)
    assert found(source, "train") == [("1.png", "x", "a/1.png"), ("2.png", "y", "a/2.png")]
    assert found(source, "validation") == [("3.png", "y", "b/3.png")]


def test_a_mistake_in_one_of_several_files_names_it(tmp_path):
    first, second = (write(tmp_path, name, GOOD) for name in ("1.csv", "2.csv"))
    expected = f"--dataset={second}: line 1: 1.png is already in {first}: line 1"
    with pytest.raises(UserError, match=re.escape(expected)):
        open_import_files(f"{first},{second}")
    missing = f"{tmp_path}/none-*"
    with pytest.raises(UserError, match=re.escape(f"--dataset={missing}: there is no such file")):
        open_import_files(f"{first},{missing}")


@pytest.mark.parametrize("dataset", ["pictures", "gs://b/pictures/", "beans", "a.csv,pictures"])
def test_what_is_no_import_file(dataset):
    assert not are_import_files(dataset)
