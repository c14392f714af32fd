"""The rules, without frameworks."""
