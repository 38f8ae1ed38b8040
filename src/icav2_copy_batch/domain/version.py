"""The version of the package, as in pyproject.toml: the functions are deployed without the package's metadata."""

VERSION = "1.0.0"
