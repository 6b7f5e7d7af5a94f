"""Run workers on Kubernetes, in an Indexed Job or a JobSet."""
