"""Workers on Vertex AI, by its official client."""
