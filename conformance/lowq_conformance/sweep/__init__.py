"""All schedules with one pre-emption: one client stands still at a line, and another one's call runs meanwhile."""
