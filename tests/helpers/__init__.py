"""What several test files use, by topic. Fixtures are in conftest.py."""
