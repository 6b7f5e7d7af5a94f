"""Train on a folder of pictures by class, list the worst mistakes, and classify by the export.

    python examples/train_my_pictures.py pictures runs/pets

The same command again goes on with a run that was stopped.
"""

import argparse
import csv
import os
import sys

import trainer


def main() -> int:
    """Train as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train on a folder of pictures by class.")
    parser.add_argument("folder", help="holds a folder for each class: pictures/cat/1.jpg, …")
    parser.add_argument("workdir", help="where everything of the run is kept")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--num_epochs", type=int, default=10)
    words = parser.parse_args()
    try:
        config = trainer.Config(
            workdir=words.workdir,
            dataset=os.path.abspath(words.folder),  # as a bare word it may name another data set
            backbone=words.backbone,
            num_epochs=words.num_epochs,
        )
        show(trainer.train(config), words.folder)
    except trainer.Preempted as stop:  # a checkpoint is saved
        print(stop, file=sys.stderr)
        return stop.exit_code
    except trainer.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def show(result: trainer.Result, folder: str) -> None:
    """Print the worst mistakes, what the export says of the validation split, and the accuracy."""
    mistakes = result.mistakes()
    print(f"mistakes   {len(mistakes)}, the most confident first")
    for wrong in mistakes[:5]:
        print(f"  {wrong.id} is predicted as {wrong.prediction}, score {wrong.confidence:.2f}")
    with open(os.path.join(result.workdir, "report", "predictions.csv"), newline="") as stream:
        labels = {os.path.join(folder, row["id"]): row["label"] for row in csv.DictReader(stream)}
    predictions = trainer.predict(result.export, list(labels))
    right = sum(found.classes[0] == labels[found.path] for found in predictions)
    print(f"export     predicts {right} of {len(labels)} validation images as labelled")
    print(f"accuracy   {result.accuracy:.4f}; see {result.report}")


if __name__ == "__main__":
    sys.exit(main())
