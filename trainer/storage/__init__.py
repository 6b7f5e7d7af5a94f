"""One path, local or in a bucket: publish, read, list, upload in the background."""
