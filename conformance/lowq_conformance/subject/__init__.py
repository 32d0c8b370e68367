"""The queue under test: its harness, its clients, its workers, and what they did."""
