"""The process: what it prints, and how it starts and ends."""
