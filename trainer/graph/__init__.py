"""TensorFlow graphs as files, and TensorFlow's errors as messages."""
