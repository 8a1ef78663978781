"""Files that this program writes: atomically, and over nothing that is not its own."""
