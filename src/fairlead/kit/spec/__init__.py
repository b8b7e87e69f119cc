"""The spec file: what it may say, how it is read, how it is described. Plain data: kit knows no rooms."""
