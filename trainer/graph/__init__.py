"""TensorFlow graphs as files, and TensorFlow's errors in words."""
