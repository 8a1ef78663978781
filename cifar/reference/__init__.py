"""The settings explained: `--help`, the command `settings`, docs/settings.md and a JSON schema for editors.

All of it is made from the signatures of builders and the comments of the files in `conf/`.
"""
