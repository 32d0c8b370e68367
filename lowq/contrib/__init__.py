"""What lowq brings for frameworks; each needs the framework, and nothing else in lowq imports it."""
