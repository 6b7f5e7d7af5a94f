"""Workers on Kubernetes, by an Indexed Job or a JobSet."""
