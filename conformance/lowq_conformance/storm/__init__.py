"""Many clients at once, some of them killed, and what they did as a history."""
