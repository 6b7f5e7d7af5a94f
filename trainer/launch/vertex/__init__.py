"""Run workers on Vertex AI, through its official client."""
