"""What the fork server of warm.py imports: all that a run does, in the way a run does it."""

from trainer.process.tensorflow_import import collector_paused, import_tensorflow

with collector_paused():
    import_tensorflow()

    import tensorflow_datasets  # noqa: F401

    import trainer.__main__
    import trainer.loop.start

    for _module, _ in trainer.__main__.COMMANDS.values():
        __import__(_module)
